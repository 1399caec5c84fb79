"""Writes fragmented MP4 of one H.264 and one AAC track, without waiting for anything: a frame can be a fragment.

ffmpeg's own writer keeps each frame until the next tells how long it lasts. Here the frame rate is known, so a
fragment is whole as soon as its frame is encoded. Sections in comments are of ISO/IEC 14496-12, the base media file
format, where nothing else is said.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from musetalk_cli.engine.outputs.mp4.samples import NO_KEYFRAME
from musetalk_cli.engine.types.audio import AUDIO_RATE_HZ

VIDEO_TRACK, AUDIO_TRACK = 1, 2
MOVIE_TIMESCALE = 1_000  # nothing is counted in it: the movie's length is open
LEAST_VIDEO_TIMESCALE = 10_000  # as ffmpeg does: some players round in the movie's units otherwise
UNITY_MATRIX = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
LANGUAGE = 0x55C4  # "und", three letters of five bits (8.4.2.3)
# sample_depends_on (8.8.3.1): a keyframe on no other sample, the rest on others.
INDEPENDENT, DEPENDENT = 0x02000000, 0x01000000
BT709, LIMITED_RANGE = 1, 0
ENABLED_IN_MOVIE, SAME_FILE = 0x3, 0x1
DEFAULT_BASE_IS_MOOF = 0x020000
# What a trun says of itself and of each sample: the data's offset; duration, size, flags (8.8.8).
RUN_FIELDS = 0x1 | 0x100 | 0x200 | 0x400
BOX_HEADER = struct.Struct(">I4s")
MPEG4_AUDIO, AUDIO_STREAM = 0x40, 0x05 << 2 | 1  # objectTypeIndication, streamType (ISO/IEC 14496-1, 7.2.6.6)
UINT32 = 0xFFFFFFFF


@dataclass(frozen=True)
class VideoTrack:
    """``configuration`` is the AVCDecoderConfigurationRecord, see h264.py; ``width`` and ``height`` in pixels."""

    width: int
    height: int
    frame_rate: Fraction
    configuration: bytes

    @property
    def frame_duration(self) -> int:
        """In units of the timescale, exactly."""
        return self.frame_rate.denominator * _scale(self.frame_rate)

    @property
    def timescale(self) -> int:
        """Units in a second: a multiple of the frame rate's numerator, so that every frame lasts a whole number."""
        return self.frame_rate.numerator * _scale(self.frame_rate)


@dataclass(frozen=True)
class AudioTrack:
    """``configuration`` is the AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2.1); the rate is 48 kHz."""

    num_channels: int
    bits_per_s: int
    configuration: bytes


class Sample(NamedTuple):
    """One coded frame of a track. ``duration`` is in the track's timescale."""

    data: bytes
    duration: int
    is_keyframe: bool = True


class Run(NamedTuple):
    """A track's samples in a fragment, one after the other from ``start`` (decoding time in the track's timescale)."""

    track: int
    start: int
    samples: Sequence[Sample]


def init_segment(video: VideoTrack, audio: AudioTrack) -> bytes:
    """ftyp and moov: what a player must have before any fragment."""
    ftyp = _box(b"ftyp", b"iso6", struct.pack(">I", 0), b"iso6avc1mp41")
    traks = [_video_trak(video), _audio_trak(audio)]
    mvex = _box(b"mvex", _trex(VIDEO_TRACK), _trex(AUDIO_TRACK))
    return ftyp + _box(b"moov", _mvhd(), *traks, mvex)


def fragment(number: int, runs: Sequence[Run]) -> bytes:
    """One moof and its mdat (8.8.4, 8.1.1).

    Args:
        number: Counts the stream's fragments from 1; only its last 32 bits are written.
        runs: For each track at most one, none of them empty. The samples' data follow in this order.
    """
    sizes = [sum(len(sample.data) for sample in run.samples) for run in runs]
    mfhd = _full_box(b"mfhd", 0, 0, struct.pack(">I", number & UINT32))
    # A moof's length does not depend on the offsets in it: once without, to know where the data begin.
    moof_bytes = BOX_HEADER.size + len(mfhd) + sum(len(_traf(run, 0)) for run in runs)
    offset, trafs = moof_bytes + BOX_HEADER.size, []
    for run, num_bytes in zip(runs, sizes, strict=True):
        trafs.append(_traf(run, offset))
        offset += num_bytes
    data = [sample.data for run in runs for sample in run.samples]
    return _box(b"moof", mfhd, *trafs) + _box(b"mdat", *data)


def _scale(frame_rate: Fraction) -> int:
    return -(-LEAST_VIDEO_TIMESCALE // frame_rate.numerator)


def _box(kind: bytes, *parts: bytes) -> bytes:
    """4.2.2; no box here is near 4 GB."""
    body = b"".join(parts)
    return BOX_HEADER.pack(BOX_HEADER.size + len(body), kind) + body


def _full_box(kind: bytes, version: int, flags: int, *parts: bytes) -> bytes:
    return _box(kind, struct.pack(">I", version << 24 | flags), *parts)


def _mvhd() -> bytes:
    """8.2.2: without times of creation, without a length (the fragments make it), at normal rate and volume."""
    times = struct.pack(">IIII", 0, 0, MOVIE_TIMESCALE, 0)
    rate_and_volume = struct.pack(">IH10x", 0x10000, 0x100)
    return _full_box(b"mvhd", 0, 0, times, rate_and_volume, UNITY_MATRIX, bytes(24), struct.pack(">I", AUDIO_TRACK + 1))


def _trex(track: int) -> bytes:
    """8.8.3: defaults of a track's samples; each run says its own."""
    return _full_box(b"trex", 0, 0, struct.pack(">IIIII", track, 1, 0, 0, 0))


def _video_trak(track: VideoTrack) -> bytes:
    vmhd = _full_box(b"vmhd", 0, 1, bytes(8))
    media = _mdia(track.timescale, b"vide", b"VideoHandler", vmhd, _avc1(track))
    return _box(b"trak", _tkhd(VIDEO_TRACK, 0, track.width, track.height), media)


def _audio_trak(track: AudioTrack) -> bytes:
    smhd = _full_box(b"smhd", 0, 0, bytes(4))
    media = _mdia(AUDIO_RATE_HZ, b"soun", b"SoundHandler", smhd, _mp4a(track))
    return _box(b"trak", _tkhd(AUDIO_TRACK, 0x100, 0, 0), media)


def _tkhd(track: int, volume: int, width: int, height: int) -> bytes:
    """8.3.2: sizes are 16.16, the volume 8.8. Both tracks are of one alternate group each, 0: none."""
    head = struct.pack(">IIIII8x", 0, 0, track, 0, 0)
    return _full_box(
        b"tkhd",
        0,
        ENABLED_IN_MOVIE,
        head,
        struct.pack(">HHHH", 0, 0, volume, 0),
        UNITY_MATRIX,
        struct.pack(">II", width << 16, height << 16),
    )


def _mdia(timescale: int, handler: bytes, name: bytes, media_header: bytes, entry: bytes) -> bytes:
    """8.4.1, with tables of samples that are empty: all samples are in fragments."""
    mdhd = _full_box(b"mdhd", 0, 0, struct.pack(">IIIIHH", 0, 0, timescale, 0, LANGUAGE, 0))
    hdlr = _full_box(b"hdlr", 0, 0, bytes(4), handler, bytes(12), name, b"\0")
    dref = _full_box(b"dref", 0, 0, struct.pack(">I", 1), _full_box(b"url ", 0, SAME_FILE))
    stsd = _full_box(b"stsd", 0, 0, struct.pack(">I", 1), entry)
    tables = [_full_box(kind, 0, 0, bytes(4)) for kind in (b"stts", b"stsc", b"stco")]
    stbl = _box(b"stbl", stsd, *tables, _full_box(b"stsz", 0, 0, bytes(8)))
    return _box(b"mdia", mdhd, hdlr, _box(b"minf", media_header, _box(b"dinf", dref), stbl))


def _avc1(track: VideoTrack) -> bytes:
    """AVCSampleEntry (ISO/IEC 14496-15, 5.4.2.1; fields: 12.1.3): 72 dpi, one frame a sample, 24 bits of depth."""
    fields = struct.pack(">6xH16xHHIIIH32xHh", 1, track.width, track.height, 0x480000, 0x480000, 0, 1, 24, -1)
    colours = _box(b"colr", b"nclx", struct.pack(">HHHB", BT709, BT709, BT709, LIMITED_RANGE << 7))  # 12.1.5
    square = _box(b"pasp", struct.pack(">II", 1, 1))  # 12.1.4
    return _box(b"avc1", fields, _box(b"avcC", track.configuration), colours, square)


def _mp4a(track: AudioTrack) -> bytes:
    """MP4AudioSampleEntry (ISO/IEC 14496-14, 5.6.1; fields: 12.2.3): 16 bits a sample, whatever AAC makes of it."""
    fields = struct.pack(">6xH8xHHIHH", 1, track.num_channels, 16, 0, AUDIO_RATE_HZ, 0)
    return _box(b"mp4a", fields, _full_box(b"esds", 0, 0, _es_descriptor(track)))


def _es_descriptor(track: AudioTrack) -> bytes:
    """ES_Descriptor (ISO/IEC 14496-1, 7.2.6.5) as MP4 has it (14496-14, 3.1.2): ES_ID 0, SL packets predefined 2."""
    rates = struct.pack(">II", track.bits_per_s, track.bits_per_s)  # the most, the mean
    decoder = bytes([MPEG4_AUDIO, AUDIO_STREAM]) + bytes(3) + rates + _descriptor(5, track.configuration)
    return _descriptor(3, bytes(3) + _descriptor(4, decoder) + _descriptor(6, b"\x02"))


def _descriptor(tag: int, body: bytes) -> bytes:
    """ISO/IEC 14496-1, 8.3.3: a length below 128 is one byte."""
    return bytes([tag, len(body)]) + body


def _traf(run: Run, data_offset: int) -> bytes:
    """8.8.6: tfhd, the time of the first sample in 64 bits (8.8.12), and what each sample is like."""
    tfhd = _full_box(b"tfhd", 0, DEFAULT_BASE_IS_MOOF, struct.pack(">I", run.track))
    tfdt = _full_box(b"tfdt", 1, 0, struct.pack(">Q", run.start))
    fields = [struct.pack(">III", sample.duration, len(sample.data), _flags(sample)) for sample in run.samples]
    trun = _full_box(b"trun", 0, RUN_FIELDS, struct.pack(">II", len(run.samples), data_offset), *fields)
    return _box(b"traf", tfhd, tfdt, trun)


def _flags(sample: Sample) -> int:
    return INDEPENDENT if sample.is_keyframe else DEPENDENT | NO_KEYFRAME
