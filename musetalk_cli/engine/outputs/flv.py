"""Fragmented MP4 → FLV, fragment by fragment, for ffmpeg to read from a pipe.

ffmpeg's reader of MP4 remembers every fragment for good, some 30 MB an hour with a frame in each (measured); its
reader of FLV remembers nothing. Only what our encoder writes is understood: one H.264 and one AAC stream.
"""

from __future__ import annotations

import struct
from fractions import Fraction

from musetalk_cli.engine.outputs.fragments import Fragment, InitSegment
from musetalk_cli.engine.outputs.mp4.samples import Sample, Track
from musetalk_cli.errors import EncoderError

AUDIO_TAG, VIDEO_TAG, SCRIPT_TAG = 8, 9, 18
KEYFRAME, INTER_FRAME, AVC = 0x10, 0x20, 7
AAC = 0xAF  # FLV has the rest of this byte say 44.1 kHz stereo whatever the audio is
CONFIGURATION, FRAMES = 0, 1
# Of the 32 bits that a tag has for its time, half are used: ffmpeg does not get over their end.
LONGEST_MS = 1 << 31
MAX_TAG_BYTES = (1 << 24) - 1  # its length has 24 bits


class FlvPacker:
    """Repacks one stream from a keyframe on, where its timestamps begin with 0.

    ``frame_rate`` goes into the metadata. Raises EncoderError for an init segment that is not of one video and one
    audio.
    """

    def __init__(self, init_segment: InitSegment, frame_rate: Fraction) -> None:
        self._tracks = init_segment.tracks
        if sorted(track.is_video for track in self._tracks.values()) != [False, True]:
            raise EncoderError("the encoder's MP4 must have one video and one audio track")
        self._frame_rate = frame_rate
        self._start_s: float | None = None
        self._end_ms = 0

    def begin(self) -> bytes:
        """What an FLV begins with (Adobe's specification, E.2 to E.5)."""
        rate = b"\x00\x09framerate\x00" + struct.pack(">d", self._frame_rate)
        metadata = b"\x02\x00\x0aonMetaData\x08\x00\x00\x00\x01" + rate + b"\x00\x00\x09"
        tags = [_envelope(track, CONFIGURATION, track.configuration) for track in self._tracks.values()]
        kinds = [_kind(track) for track in self._tracks.values()]
        starts = map(_tag, [SCRIPT_TAG, *kinds], [0] * (1 + len(tags)), [metadata, *tags])
        return b"FLV\x01\x05\x00\x00\x00\x09\x00\x00\x00\x00" + b"".join(starts)

    @property
    def is_full(self) -> bool:
        """Whether so much time has passed, some 25 days, that another FLV should be begun with the next keyframe."""
        return self._end_ms >= LONGEST_MS

    def pack(self, fragment: Fragment) -> bytes:
        """The tags of a fragment, in the order of decoding; nothing for one without samples.

        Raises EncoderError for what an FLV cannot hold.
        """
        if unknown := {sample.track for sample in fragment.samples} - set(self._tracks):
            raise EncoderError(f"the encoder's MP4 has samples of unknown tracks: {sorted(unknown)}")
        samples = sorted(fragment.samples, key=self._time_s)
        if samples and self._start_s is None:
            self._start_s = self._time_s(samples[0])
        return b"".join(map(self._pack_sample, samples))

    def _pack_sample(self, sample: Sample) -> bytes:
        track = self._tracks[sample.track]
        delay_ms = round(1000 * sample.delay / track.timescale)
        kind = KEYFRAME if sample.is_keyframe else INTER_FRAME
        body = _envelope(track, FRAMES, sample.data, kind, delay_ms)
        return _tag(_kind(track), self._count_ms(self._time_s(sample)), body)

    def _time_s(self, sample: Sample) -> float:
        return sample.time / self._tracks[sample.track].timescale

    def _count_ms(self, time_s: float) -> int:
        """Since this FLV began."""
        self._end_ms = max(0, round(1000 * (time_s - (self._start_s or 0.0))))
        return self._end_ms


def _envelope(track: Track, kind: int, data: bytes | memoryview, frame: int = KEYFRAME, delay_ms: int = 0) -> bytes:
    if track.is_video:
        return bytes([frame | AVC, kind]) + (delay_ms & 0xFFFFFF).to_bytes(3, "big") + data
    return bytes([AAC, kind]) + data


def _kind(track: Track) -> int:
    return VIDEO_TAG if track.is_video else AUDIO_TAG


def _tag(kind: int, time_ms: int, body: bytes) -> bytes:
    if len(body) > MAX_TAG_BYTES or time_ms >= 1 << 32:
        raise EncoderError(f"an FLV cannot hold {len(body)} bytes at {time_ms} ms")
    stamp = (time_ms & 0xFFFFFF).to_bytes(3, "big") + (time_ms >> 24).to_bytes(1, "big")
    head = bytes([kind]) + len(body).to_bytes(3, "big") + stamp + bytes(3)
    return head + body + (len(head) + len(body)).to_bytes(4, "big")
