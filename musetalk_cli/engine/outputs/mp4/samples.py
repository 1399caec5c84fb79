"""What a fragmented MP4 holds: its tracks, and the samples of a fragment (ISO/IEC 14496-12, 8.8).

Only what our encoder writes is understood: offsets count from the moof (default-base-is-moof). Everything here raises
EncoderError for bytes that break the format's rules.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from musetalk_cli.engine.outputs.mp4.boxes import BOX_HEADER_BYTES, boxes_in, damaged, find_box, find_boxes

NO_KEYFRAME = 0x10000  # sample_is_non_sync_sample
VISUAL_ENTRY_BYTES, AUDIO_ENTRY_BYTES = 78, 28
DECODER_SPECIFIC_INFO = 5
# Bytes of a descriptor's own fields before those inside it (ISO/IEC 14496-1, 7.2.6).
DESCRIPTOR_FIELDS = {3: 3, 4: 13}


class Track(NamedTuple):
    """``timescale`` is in units a second, ``configuration`` what a decoder must know: avcC, or AudioSpecificConfig."""

    is_video: bool
    timescale: int
    configuration: bytes


class Sample(NamedTuple):
    """One frame of video or packet of audio. Times are in the units of its track."""

    track: int
    time: int  # of decoding
    delay: int  # until it is shown
    is_keyframe: bool
    data: memoryview


def read_tracks(moov: bytes) -> dict[int, Track]:
    """The tracks that the body of a moov describes, by their numbers."""
    return dict(map(_read_track, find_boxes(moov, b"trak")))


def read_samples(fragment: bytes) -> Iterator[Sample]:
    """The samples of a moof and its mdat, track after track."""
    moof_at = 0
    for kind, body in boxes_in(fragment):
        if kind == b"moof":
            for traf in find_boxes(body, b"traf"):
                yield from _read_runs(memoryview(fragment)[moof_at:], traf)
        moof_at += BOX_HEADER_BYTES + len(body)


def count_frames(moof: bytes, video_track: int | None) -> tuple[int, bool]:
    """How many frames the body of a moof describes, and whether the first is a keyframe."""
    for traf in find_boxes(moof, b"traf"):
        header, run = find_box(traf, b"tfhd"), find_box(traf, b"trun")
        if int.from_bytes(header[4:8], "big") != video_track or not run:
            continue
        num_frames = int.from_bytes(run[4:8], "big")
        return num_frames, num_frames > 0 and not _first_flags(header, run) & NO_KEYFRAME
    return 0, False


def _read_track(trak: bytes) -> tuple[int, Track]:
    media, is_video = find_box(trak, b"mdia"), find_box(trak, b"mdia", b"hdlr")[8:12] == b"vide"
    entry = find_box(media, b"minf", b"stbl", b"stsd")[8 + BOX_HEADER_BYTES :]
    number, timescale = _field_behind_times(find_box(trak, b"tkhd")), _field_behind_times(find_box(media, b"mdhd"))
    if not number or not timescale:
        raise damaged(f"a track with the number {number} and the timescale {timescale}")
    if is_video:
        configuration = find_box(entry[VISUAL_ENTRY_BYTES:], b"avcC")
    else:
        configuration = _find_decoder_info(find_box(entry[AUDIO_ENTRY_BYTES:], b"esds")[4:])
    return number, Track(is_video, timescale, configuration)


def _field_behind_times(box: bytes) -> int:
    """The track's number in a tkhd, the timescale in an mdhd: what follows two times of 4 or of 8 bytes."""
    at = 20 if box[:1] == b"\1" else 12
    return int.from_bytes(box[at : at + 4], "big")


def _find_decoder_info(descriptors: bytes) -> bytes:
    at = 0
    while at < len(descriptors):
        kind = descriptors[at]
        length, at = _read_length(descriptors, at + 1)
        if kind == DECODER_SPECIFIC_INFO:
            return descriptors[at : at + length]
        at += DESCRIPTOR_FIELDS.get(kind, length)
    return b""


def _read_length(descriptors: bytes, at: int) -> tuple[int, int]:
    """The length that a descriptor gives, seven bits in each byte, and where it goes on (ISO/IEC 14496-1, 8.3.3)."""
    length = 0
    for read, byte in enumerate(descriptors[at : at + 4], start=1):
        length = length << 7 | byte & 0x7F
        if not byte & 0x80:
            return length, at + read
    raise damaged("a descriptor without its length")


def _read_runs(data: memoryview, traf: bytes) -> Iterator[Sample]:
    """``data`` begins with the moof."""
    header, tfdt = find_box(traf, b"tfhd"), find_box(traf, b"tfdt")
    if len(tfdt) < 8:
        raise damaged("a fragment without its time")
    track = int.from_bytes(header[4:8], "big")
    duration, size, flags = _read_defaults(header)
    time = int.from_bytes(tfdt[4 : 12 if tfdt[0] == 1 else 8], "big")
    for run in find_boxes(traf, b"trun"):
        run_flags, count = int.from_bytes(run[1:4], "big"), int.from_bytes(run[4:8], "big")
        num_values = bin(run_flags & 0x5).count("1") + count * bin(run_flags & 0xF00).count("1")
        if len(run) < 8 + 4 * num_values:
            raise damaged(f"a run of {count} samples in {len(run)} bytes")
        values = iter(struct.unpack_from(f">{num_values}I", run, 8))
        at = next(values) if run_flags & 0x1 else 0
        first_flags = next(values) if run_flags & 0x4 else None
        for index in range(count):
            lasts = next(values) if run_flags & 0x100 else duration
            length = next(values) if run_flags & 0x200 else size
            own = next(values) if run_flags & 0x400 else first_flags if first_flags is not None and not index else flags
            delay = next(values) if run_flags & 0x800 else 0
            if not length or at + length > len(data):
                raise damaged(f"a sample of {length} bytes at {at} of {len(data)}")
            signed = delay - (1 << 32) if delay >> 31 else delay
            yield Sample(track, time, signed, not own & NO_KEYFRAME, data[at : at + length])
            at, time = at + length, time + lasts


def _read_defaults(tfhd: bytes) -> tuple[int, int, int]:
    """A sample's duration, size and flags where its run does not say (8.8.7)."""
    present = int.from_bytes(tfhd[1:4], "big")
    at = 8 + 8 * bool(present & 0x1) + 4 * bool(present & 0x2)
    found = [0, 0, NO_KEYFRAME]
    for index, bit in enumerate((0x8, 0x10, 0x20)):
        if present & bit:
            found[index] = int.from_bytes(tfhd[at : at + 4], "big")
            at += 4
    return found[0], found[1], found[2]


def _first_flags(header: bytes, run: bytes) -> int:
    """The flags of a run's first sample: its own, the run's, or the track's default (8.8.7, 8.8.8)."""
    run_flags = int.from_bytes(run[1:4], "big")
    at = 8 + 4 * bool(run_flags & 0x1)
    if run_flags & 0x4:
        return int.from_bytes(run[at : at + 4], "big")
    if run_flags & 0x400:
        at += 4 * (bool(run_flags & 0x100) + bool(run_flags & 0x200))
        return int.from_bytes(run[at : at + 4], "big")
    return _read_defaults(header)[2]
