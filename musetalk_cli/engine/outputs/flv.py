"""Fragmented MP4 → FLV, piece by piece, for ffmpeg to read from a pipe.

ffmpeg's reader of MP4 remembers every fragment for good, some 30 MB an hour with a frame in each (measured); its
reader of FLV remembers nothing. Only what our encoder writes is understood: one H.264 and one AAC stream.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

from musetalk_cli.engine.outputs.fragments import (
    BOX_HEADER_BYTES,
    NO_KEYFRAME,
    boxes_in,
    field_behind_times,
    find_box,
    find_boxes,
    is_video,
    read_defaults,
)
from musetalk_cli.errors import EncoderError

AUDIO_TAG, VIDEO_TAG, SCRIPT_TAG = 8, 9, 18
KEYFRAME, INTER_FRAME, AVC = 0x10, 0x20, 7
AAC = 0xAF  # FLV has the rest of this byte say 44.1 kHz stereo whatever the audio is
CONFIGURATION, FRAMES = 0, 1
VISUAL_ENTRY_BYTES, AUDIO_ENTRY_BYTES = 78, 28
DECODER_SPECIFIC_INFO = 5
# Bytes of a descriptor's own fields before those inside it (ISO/IEC 14496-1, 7.2.6).
DESCRIPTOR_FIELDS = {3: 3, 4: 13}
# Of the 32 bits that a tag has for its time, half are used: ffmpeg does not get over their end.
LONGEST_MS = 1 << 31


class _Track(NamedTuple):
    """``timescale`` is in units a second, ``configuration`` what a decoder must know: avcC, or AudioSpecificConfig."""

    is_video: bool
    timescale: int
    configuration: bytes


class _Sample(NamedTuple):
    time: int  # of decoding, in the track's units
    delay: int  # until it is shown
    is_keyframe: bool
    data: bytes


class FlvPacker:
    """Repacks one stream. ``header`` is the MP4's first piece (ftyp and moov), ``frame_rate`` what players are told.

    Raises EncoderError for a header that is not of one video and one audio.
    """

    def __init__(self, header: bytes, frame_rate: Fraction) -> None:
        self._tracks = dict(_read_tracks(find_box(header, b"moov")))
        if sorted(track.is_video for track in self._tracks.values()) != [False, True]:
            raise EncoderError("the encoder's MP4 has not one video and one audio")
        self._frame_rate = frame_rate
        self._start_s: float | None = None
        self._end_ms = 0

    def begin(self) -> bytes:
        """What an FLV begins with (Adobe's specification, E.2 to E.5)."""
        rate = b"\x00\x09framerate\x00" + struct.pack(">d", self._frame_rate)
        told = b"\x02\x00\x0aonMetaData\x08\x00\x00\x00\x01" + rate + b"\x00\x00\x09"
        tags = [_envelope(track, CONFIGURATION, track.configuration) for track in self._tracks.values()]
        kinds = [_kind(track) for track in self._tracks.values()]
        starts = map(_tag, [SCRIPT_TAG, *kinds], [0] * (1 + len(tags)), [told, *tags])
        return b"FLV\x01\x05\x00\x00\x00\x09\x00\x00\x00\x00" + b"".join(starts)

    @property
    def is_full(self) -> bool:
        """Whether so much time has passed, some 25 days, that another FLV should be begun with the next keyframe."""
        return self._end_ms >= LONGEST_MS

    def pack(self, fragment: bytes) -> bytes:
        """The tags of a piece (a moof and its mdat), in the order of decoding; nothing for a piece without samples."""
        tags = []
        for number, track in self._tracks.items():
            for sample in _read_samples(fragment, number):
                delay_ms = round(1000 * sample.delay / track.timescale)
                kind = KEYFRAME if sample.is_keyframe else INTER_FRAME
                body = _envelope(track, FRAMES, sample.data, kind, delay_ms)
                tags.append((sample.time / track.timescale, _kind(track), body))
        tags.sort(key=lambda tag: tag[0])
        if tags and self._start_s is None:
            self._start_s = tags[0][0]
        return b"".join(_tag(kind, self._count_ms(time_s), body) for time_s, kind, body in tags)

    def _count_ms(self, time_s: float) -> int:
        """Since this FLV began."""
        self._end_ms = max(0, round(1000 * (time_s - (self._start_s or 0.0))))
        return self._end_ms


def _envelope(track: _Track, kind: int, data: bytes, image: int = KEYFRAME, delay_ms: int = 0) -> bytes:
    if track.is_video:
        return bytes([image | AVC, kind]) + (delay_ms & 0xFFFFFF).to_bytes(3, "big") + data
    return bytes([AAC, kind]) + data


def _kind(track: _Track) -> int:
    return VIDEO_TAG if track.is_video else AUDIO_TAG


def _tag(kind: int, time_ms: int, body: bytes) -> bytes:
    stamp = (time_ms & 0xFFFFFF).to_bytes(3, "big") + (time_ms >> 24).to_bytes(1, "big")
    head = bytes([kind]) + len(body).to_bytes(3, "big") + stamp + bytes(3)
    return head + body + (len(head) + len(body)).to_bytes(4, "big")


def _read_tracks(moov: bytes) -> Iterator[tuple[int, _Track]]:
    for trak in find_boxes(moov, b"trak"):
        media, shows = find_box(trak, b"mdia"), is_video(trak)
        entry = find_box(media, b"minf", b"stbl", b"stsd")[8 + BOX_HEADER_BYTES :]
        number, timescale = field_behind_times(find_box(trak, b"tkhd")), field_behind_times(find_box(media, b"mdhd"))
        configuration = (
            find_box(entry[VISUAL_ENTRY_BYTES:], b"avcC")
            if shows
            else _find_decoder_info(find_box(entry[AUDIO_ENTRY_BYTES:], b"esds")[4:])
        )
        yield number, _Track(shows, timescale, configuration)


def _find_decoder_info(descriptors: bytes) -> bytes:
    at = 0
    while at < len(descriptors):
        kind, length, at = descriptors[at], 0, at + 1
        while True:
            length = length << 7 | descriptors[at] & 0x7F
            at += 1
            if not descriptors[at - 1] & 0x80:
                break
        if kind == DECODER_SPECIFIC_INFO:
            return descriptors[at : at + length]
        at += DESCRIPTOR_FIELDS.get(kind, length)
    return b""


def _read_samples(fragment: bytes, number: int) -> Iterator[_Sample]:
    """A track's samples in a moof with its mdat (ISO/IEC 14496-12, 8.8)."""
    moof_at = 0
    for kind, body in boxes_in(fragment):
        if kind == b"moof":
            for traf in find_boxes(body, b"traf"):
                if int.from_bytes(find_box(traf, b"tfhd")[4:8], "big") == number:
                    yield from _read_runs(fragment[moof_at:], traf)
        moof_at += BOX_HEADER_BYTES + len(body)


def _read_runs(data: bytes, traf: bytes) -> Iterator[_Sample]:
    """``data`` begins with the moof, from which offsets count (default-base-is-moof)."""
    duration, size, flags = read_defaults(find_box(traf, b"tfhd"))
    tfdt = find_box(traf, b"tfdt")
    time = int.from_bytes(tfdt[4 : 12 if tfdt[0] == 1 else 8], "big")
    for run in find_boxes(traf, b"trun"):
        run_flags, count = int.from_bytes(run[1:4], "big"), int.from_bytes(run[4:8], "big")
        values = iter(struct.unpack_from(f">{(len(run) - 8) // 4}I", run, 8))
        at = next(values) if run_flags & 0x1 else 0
        first_flags = next(values) if run_flags & 0x4 else None
        for index in range(count):
            lasts = next(values) if run_flags & 0x100 else duration
            length = next(values) if run_flags & 0x200 else size
            own = next(values) if run_flags & 0x400 else first_flags if first_flags is not None and not index else flags
            delay = next(values) if run_flags & 0x800 else 0
            signed = delay - (1 << 32) if delay >> 31 else delay
            yield _Sample(time, signed, not own & NO_KEYFRAME, data[at : at + length])
            at, time = at + length, time + lasts
