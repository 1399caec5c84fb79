"""Reading the outline of a fragmented MP4 as it passes by: where a player could stop without missing anything."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BOX_HEADER_BYTES = 8
NO_KEYFRAME = 0x10000  # sample_is_non_sync_sample


class FragmentCounter:
    """Follows the top-level boxes (ISO/IEC 14496-12, 4.2) of a byte stream that arrives in pieces.

    ``num_fragments`` counts whole fragments (``mdat`` boxes that have ended) and ``playable_bytes`` is the length of
    the stream up to the end of the last one.
    """

    def __init__(self) -> None:
        self.num_fragments = 0
        self.playable_bytes = 0
        self._header = b""
        self._kind = b""
        self._left = 0  # bytes of the current box still to come
        self._position = 0

    def feed(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            if self._left == 0:
                at += self._read_header(data[at:])
                continue
            step = min(self._left, len(data) - at)
            at += step
            self._advance(step)

    def _read_header(self, data: bytes) -> int:
        taken = data[: BOX_HEADER_BYTES - len(self._header)]
        self._header += taken
        self._position += len(taken)
        if len(self._header) == BOX_HEADER_BYTES:
            self._kind = self._header[4:]
            self._left = int.from_bytes(self._header[:4], "big") - BOX_HEADER_BYTES
            self._header = b""
            self._advance(0)
        return len(taken)

    def _advance(self, step: int) -> None:
        self._left -= step
        self._position += step
        if self._left == 0 and self._kind == b"mdat":
            self.num_fragments += 1
            self.playable_bytes = self._position


@dataclass(frozen=True)
class Fragment:
    """A part of a fragmented MP4 that must not be torn apart: the header, or one fragment (``num_frames`` of them).

    ``is_keyframe``: a player can begin here, given the header.
    """

    data: bytes
    is_header: bool
    is_keyframe: bool
    num_frames: int


class FragmentSplitter:
    """Cuts a stream of bytes into Fragments, each as soon as its last byte is there (ISO/IEC 14496-12, 8.8)."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._boxes = bytearray()  # whole boxes of the piece that is being put together
        self._moof = b""
        self._video_track: int | None = None

    def feed(self, data: bytes) -> Iterator[Fragment]:
        self._data += data
        while len(self._data) >= BOX_HEADER_BYTES:
            size = max(BOX_HEADER_BYTES, int.from_bytes(self._data[:4], "big"))
            if len(self._data) < size:
                return
            box = bytes(self._data[:size])
            del self._data[:size]
            self._boxes += box
            yield from self._take_box(box[4:8], box[BOX_HEADER_BYTES:])

    def _take_box(self, kind: bytes, body: bytes) -> Iterator[Fragment]:
        if kind == b"moov":
            self._video_track = _find_video_track(body)
            yield self._finish(is_header=True, is_keyframe=False, num_frames=0)
        elif kind == b"moof":
            self._moof = body
        elif kind == b"mdat":
            num_frames, is_keyframe = _read_frames(self._moof, self._video_track)
            yield self._finish(is_header=False, is_keyframe=is_keyframe, num_frames=num_frames)
        elif kind == b"mfra":
            yield self._finish(is_header=False, is_keyframe=False, num_frames=0)

    def _finish(self, *, is_header: bool, is_keyframe: bool, num_frames: int) -> Fragment:
        data = bytes(self._boxes)
        self._boxes.clear()
        return Fragment(data, is_header, is_keyframe, num_frames)


def is_whole_file(path: Path) -> bool:
    """Whether a file is a row of whole top-level boxes, at least one. Raises OSError."""
    with path.open("rb") as file:
        num_bytes = os.fstat(file.fileno()).st_size
        at = 0
        while at + BOX_HEADER_BYTES <= num_bytes:
            file.seek(at)
            at += max(BOX_HEADER_BYTES, int.from_bytes(file.read(4), "big"))
        return at == num_bytes > 0


def boxes_in(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The kind and the body of each box in a row of them."""
    at = 0
    while at + BOX_HEADER_BYTES <= len(body):
        size = max(BOX_HEADER_BYTES, int.from_bytes(body[at : at + 4], "big"))
        yield body[at + 4 : at + 8], body[at + BOX_HEADER_BYTES : at + size]
        at += size


def find_boxes(body: bytes, name: bytes) -> list[bytes]:
    """The bodies of all boxes of that name in a row of them."""
    return [inner for kind, inner in boxes_in(body) if kind == name]


def find_box(body: bytes, *path: bytes) -> bytes:
    """The body of the first box under a path of names, empty when there is none."""
    for name in path:
        body = next(iter(find_boxes(body, name)), b"")
    return body


def is_video(trak: bytes) -> bool:
    return find_box(trak, b"mdia", b"hdlr")[8:12] == b"vide"


def field_behind_times(box: bytes) -> int:
    """The track's number in a tkhd, the timescale in an mdhd: what follows two times of 4 or of 8 bytes."""
    at = 20 if box[:1] == b"\1" else 12
    return int.from_bytes(box[at : at + 4], "big")


def read_defaults(tfhd: bytes) -> tuple[int, int, int]:
    """A sample's duration, size and flags where its run does not say (8.8.7)."""
    present = int.from_bytes(tfhd[1:4], "big")
    at = 8 + 8 * bool(present & 0x1) + 4 * bool(present & 0x2)
    found = [0, 0, NO_KEYFRAME]
    for index, bit in enumerate((0x8, 0x10, 0x20)):
        if present & bit:
            found[index] = int.from_bytes(tfhd[at : at + 4], "big")
            at += 4
    return found[0], found[1], found[2]


def _find_video_track(moov: bytes) -> int | None:
    for track in find_boxes(moov, b"trak"):
        if is_video(track):
            return field_behind_times(find_box(track, b"tkhd"))
    return None


def _read_frames(moof: bytes, video_track: int | None) -> tuple[int, bool]:
    """How many frames a fragment holds, and whether the first is a keyframe."""
    for traf in find_boxes(moof, b"traf"):
        header, run = find_box(traf, b"tfhd"), find_box(traf, b"trun")
        if int.from_bytes(header[4:8], "big") != video_track or not run:
            continue
        num_frames = int.from_bytes(run[4:8], "big")
        return num_frames, num_frames > 0 and not _first_flags(header, run) & NO_KEYFRAME
    return 0, False


def _first_flags(header: bytes, run: bytes) -> int:
    """The flags of a run's first sample: its own, the run's, or the track's default (8.8.7, 8.8.8)."""
    run_flags = int.from_bytes(run[1:4], "big")
    at = 8 + 4 * bool(run_flags & 0x1)
    if run_flags & 0x4:
        return int.from_bytes(run[at : at + 4], "big")
    if run_flags & 0x400:
        at += 4 * (bool(run_flags & 0x100) + bool(run_flags & 0x200))
        return int.from_bytes(run[at : at + 4], "big")
    return read_defaults(header)[2]
