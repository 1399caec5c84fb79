"""The parts that a fragmented MP4 is delivered in, and cutting the encoder's bytes into them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from musetalk_cli.engine.outputs.mp4.boxes import BOX_HEADER_BYTES, damaged, find_box, read_size
from musetalk_cli.engine.outputs.mp4.samples import Sample, Track, count_frames, read_samples, read_tracks

# More than ten seconds of the largest frames at the highest bit rate.
LONGEST_BOX_BYTES = 1 << 28


@dataclass(frozen=True)
class InitSegment:
    """What a stream begins with (ftyp and moov): a player can do nothing without it."""

    data: bytes
    num_frames: ClassVar[int] = 0

    @cached_property
    def tracks(self) -> dict[int, Track]:
        """By their numbers. Raises EncoderError."""
        return read_tracks(find_box(self.data, b"moov"))


@dataclass(frozen=True)
class Fragment:
    """A moof and its mdat, with what stands before them: not to be torn apart. It may hold audio alone.

    ``is_keyframe``: a player can begin here, given the init segment. ``is_trailer``: it is no fragment but what follows
    the last one (mfra), for players that look for an index.
    """

    data: bytes
    num_frames: int
    is_keyframe: bool
    is_trailer: bool = False

    @cached_property
    def samples(self) -> tuple[Sample, ...]:
        """Of all tracks, one after the other. Read once, however many targets repack them. Raises EncoderError."""
        return tuple(read_samples(self.data))


class FragmentSplitter:
    """Cuts a stream of bytes, however they arrive, into its init segment and its fragments."""

    def __init__(self) -> None:
        self._data = bytearray()  # of what comes next
        self._box_at = 0  # where in it the first box begins that is not complete
        self._moof_at: int | None = None
        self._video_track: int | None = None

    def feed(self, data: bytes) -> Iterator[InitSegment | Fragment]:
        """The parts that are complete with these bytes. Raises EncoderError for bytes that are no fragmented MP4."""
        self._data += data
        while (end := self._find_box_end()) is not None:
            kind = bytes(self._data[self._box_at + 4 : self._box_at + BOX_HEADER_BYTES])
            if kind == b"moov":
                yield self._cut_init_segment(end)
            elif kind == b"mdat":
                yield self._cut_fragment(end)
            else:
                self._moof_at = self._box_at if kind == b"moof" else self._moof_at
                self._box_at = end

    def finish(self) -> Fragment | None:
        """What has come behind the last fragment of a stream that is at its end."""
        return Fragment(self._cut(len(self._data)), 0, False, is_trailer=True) if self._data else None

    def _find_box_end(self) -> int | None:
        body_at = self._box_at + BOX_HEADER_BYTES
        if len(self._data) < body_at:
            return None
        size = read_size(self._data[self._box_at : body_at])
        if size > LONGEST_BOX_BYTES:
            raise damaged(f"a box of {size} bytes")
        end = self._box_at + size
        return end if end <= len(self._data) else None

    def _cut_init_segment(self, end: int) -> InitSegment:
        segment = InitSegment(self._cut(end))
        self._video_track = next((number for number, track in segment.tracks.items() if track.is_video), None)
        return segment

    def _cut_fragment(self, end: int) -> Fragment:
        if self._moof_at is None:
            raise damaged("an mdat without its moof")
        moof = bytes(self._data[self._moof_at + BOX_HEADER_BYTES : self._box_at])
        num_frames, is_keyframe = count_frames(moof, self._video_track)
        return Fragment(self._cut(end), num_frames, is_keyframe)

    def _cut(self, end: int) -> bytes:
        data = bytes(memoryview(self._data)[:end])
        del self._data[:end]
        self._box_at, self._moof_at = 0, None
        return data
