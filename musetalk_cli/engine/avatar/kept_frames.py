"""Frames of short clips stay in memory once they have been read: a clip is shown again and again."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Sequence

from musetalk_cli.engine.avatar.frames import AvatarFrames, check_indices
from musetalk_cli.engine.types.colour import ByteArray

# Of all avatars of the process together: 13 s of 512 × 512 at 25 fps. Those that come later are read each time.
MAX_KEPT_BYTES = 128_000_000


class _Budget:
    """Bytes that may be kept in this process. Several threads may ask at once."""

    def __init__(self, num_bytes: int) -> None:
        self.pid = os.getpid()
        self._lock = threading.Lock()
        self.left = num_bytes

    def take(self, num_bytes: int) -> bool:
        """Whether so many were left; then they are taken."""
        with self._lock:
            is_there = num_bytes <= self.left
            self.left -= num_bytes if is_there else 0
        return is_there

    def give_back(self, num_bytes: int) -> None:
        with self._lock:
            self.left += num_bytes


budget = _Budget(MAX_KEPT_BYTES)


class KeptFrames:
    """The frames of ``source``. Each is read once and stays in memory, read-only, if there is room for all of them.

    A process that is forked keeps no more than those that had been read by then, which it shares.
    """

    def __init__(self, source: AvatarFrames) -> None:
        self.source = source
        self.width, self.height, self.num_frames = source.width, source.height, source.num_frames
        self._kept: dict[int, ByteArray] = {}
        self._room: weakref.finalize[[int], KeptFrames] | None = None
        self._lock = threading.Lock()
        self._is_closed = False

    def read(self, indices: Sequence[int]) -> list[ByteArray]:
        check_indices(indices, self.num_frames)
        kept = self._kept  # what was kept until another thread closes
        if not self._has_room():
            found = [kept.get(index) for index in indices]
            others = iter(self.source.read([index for index, own in zip(indices, found, strict=True) if own is None]))
            return [next(others) if own is None else own for own in found]
        wanted = [index for index in dict.fromkeys(indices) if index not in kept]
        images = dict(zip(wanted, self.source.read(wanted), strict=True))
        for image in images.values():
            image.flags.writeable = False
        kept.update(images)
        return [kept[index] for index in indices]

    def read_all(self) -> None:
        """Read all that can be kept, for processes that are forked from this one. Raises AvatarError."""
        if self._has_room():
            for index in range(self.num_frames):
                self.read([index])

    def image(self, index: int = 0) -> ByteArray:
        return self.source.image(index)

    def close(self) -> None:
        self.source.close()
        with self._lock:
            self._is_closed, self._kept = True, {}
            if self._room is not None:
                self._room()
                self._room = None

    def _has_room(self) -> bool:
        if os.getpid() != budget.pid:
            return False
        with self._lock:
            if self._is_closed:
                return False
            if self._room is None:
                num_bytes = count_bytes(self)
                if not budget.take(num_bytes):
                    return False
                self._room = weakref.finalize(self, budget.give_back, num_bytes)
        return True


def keep_short(frames: AvatarFrames) -> AvatarFrames:
    """The same frames; if all of them take little memory, they are kept once they have been read."""
    return KeptFrames(frames) if count_bytes(frames) <= MAX_KEPT_BYTES else frames


def count_bytes(frames: AvatarFrames) -> int:
    """What all of the frames take in memory."""
    return frames.num_frames * frames.width * frames.height * 3 // 2


def unkept(frames: AvatarFrames) -> AvatarFrames:
    """The same frames, read each time: what is made of them may be kept instead."""
    return frames.source if isinstance(frames, KeptFrames) else frames
