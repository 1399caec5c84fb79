"""Frames with timestamps as ffmpeg reads them from a pipe: uncompressed video in Matroska (RFC 9559).

Raw video has no timestamps, and a clip may have any.
"""

from __future__ import annotations

from musetalk_cli.engine.types.colour import ByteArray

TICK_NS = 1000  # timestamps are microseconds: finer than any clip's
_UNKNOWN_SIZE = b"\x01" + b"\xff" * 7


def header(width: int, height: int) -> bytes:
    """What comes before the frames, which are planar I420 of this size."""
    ebml = _element(
        b"\x1a\x45\xdf\xa3",
        _element(b"\x42\x82", b"matroska") + _number(b"\x42\x87", 4) + _number(b"\x42\x85", 2),
    )
    names = _element(b"\x4d\x80", b"musetalk") + _element(b"\x57\x41", b"musetalk")
    info = _element(b"\x15\x49\xa9\x66", _number(b"\x2a\xd7\xb1", TICK_NS) + names)
    video = _number(b"\xb0", width) + _number(b"\xba", height) + _element(b"\x2e\xb5\x24", b"I420")
    track = _number(b"\xd7", 1) + _number(b"\x73\xc5", 1) + _number(b"\x83", 1)
    entry = _element(b"\xae", track + _element(b"\x86", b"V_UNCOMPRESSED") + _element(b"\xe0", video))
    return ebml + b"\x18\x53\x80\x67" + _UNKNOWN_SIZE + info + _element(b"\x16\x54\xae\x6b", entry)


def frame_header(image: ByteArray, time_us: int) -> bytes:
    """What comes before the bytes of each frame."""
    block = b"\x81\x00\x00\x80"  # of track 1, at the cluster's time, a keyframe
    inner = _number(b"\xe7", time_us) + b"\xa3" + _size(len(block) + image.nbytes) + block
    return b"\x1f\x43\xb6\x75" + _size(len(inner) + image.nbytes) + inner


def _element(name: bytes, content: bytes) -> bytes:
    return name + _size(len(content)) + content


def _number(name: bytes, value: int) -> bytes:
    return _element(name, value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big"))


def _size(num_bytes: int) -> bytes:
    return (num_bytes | 1 << 56).to_bytes(8, "big")
