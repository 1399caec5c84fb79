"""A voice that comes as fast as it is taken, or in real time; and when its frames have left."""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections.abc import Sequence

from musetalk_cli.engine.outputs.fragments import Fragment, InitSegment
from musetalk_cli.engine.types.messages import AUDIO_RATE_HZ, AudioArray

# As a microphone gives it; and the most that is given at once, shorter than any block.
PIECE_SAMPLES = AUDIO_RATE_HZ // 50
MOST_SAMPLES = 5 * PIECE_SAMPLES


class Feed:
    """AudioSource from memory: int16 (n, 1) at 48 kHz.

    ``is_live`` gives it in real time, 20 ms at a time, from the first read on; otherwise it is there at once.
    """

    num_channels = 1

    def __init__(self, audio: AudioArray, *, is_live: bool = False) -> None:
        self.duration_s: float | None = len(audio) / AUDIO_RATE_HZ
        self.started_at: float | None = None  # time.perf_counter() of the first read
        self._audio = audio
        self._is_live = is_live
        self._position = 0
        self._stopped = threading.Event()

    def open(self) -> None:
        pass

    def read(self) -> AudioArray | None:
        if self.started_at is None:
            self.started_at = time.perf_counter()
        start = self._position
        wanted = min(start + PIECE_SAMPLES, len(self._audio))
        while not self._stopped.is_set() and self._count_there() < wanted:
            self._stopped.wait(wanted / AUDIO_RATE_HZ - (time.perf_counter() - self.started_at))
        if self._stopped.is_set() or start == len(self._audio):
            return None
        self._position = min(self._count_there(), start + MOST_SAMPLES)
        return self._audio[start : self._position]

    def stop(self) -> None:
        self._stopped.set()

    def close(self) -> None:
        self.stop()

    def _count_there(self) -> int:
        """How many samples have come, in whole pieces but for the last."""
        if not self._is_live or self.started_at is None:
            return len(self._audio)
        num_come = int((time.perf_counter() - self.started_at) * AUDIO_RATE_HZ)
        return len(self._audio) if num_come >= len(self._audio) else num_come // PIECE_SAMPLES * PIECE_SAMPLES


class ArrivalSink:
    """Sink that notes when each frame came, and drops its bytes, or keeps them if it ``keeps``.

    ``block_ends`` (frames, ascending) has it hand frames on block by block: they count as come when their block is
    whole, which the last ``num_late`` frames of a block are not waited for.
    """

    name = "the bench"
    where = None

    def __init__(self, block_ends: Sequence[int] | None, num_late: int, *, keeps: bool = False) -> None:
        self.times: list[float] = []  # time.perf_counter() of every frame, in order
        self.last_at = 0.0  # and of the last byte
        self._stream = bytearray()
        self._clips: list[bytes] = []
        self._block_ends = block_ends
        self._num_late = num_late
        self._keeps = keeps
        self._num_made = 0

    def begin(self, init_segment: InitSegment) -> None:
        self._take(init_segment.data)

    def write(self, fragment: Fragment) -> None:
        self._take(fragment.data)
        self._note(fragment.num_frames)

    def take_clip(self, data: bytes, num_frames: int) -> None:
        """A whole MP4 of its own."""
        self.last_at = time.perf_counter()
        if self._keeps:
            self._clips.append(data)
        self._note(num_frames)

    @property
    def videos(self) -> tuple[bytes, ...]:
        """What was kept: one video, or every clip."""
        return (bytes(self._stream),) if self._stream else tuple(self._clips)

    def cancel(self) -> None:
        pass

    def close(self, *, is_whole: bool, is_final: bool) -> None:
        pass

    def _take(self, data: bytes) -> None:
        self.last_at = time.perf_counter()
        if self._keeps:
            self._stream += data

    def _note(self, num_frames: int) -> None:
        self._num_made += num_frames
        self.times += [time.perf_counter()] * (self._num_whole() - len(self.times))

    def _num_whole(self) -> int:
        if self._block_ends is None:
            return self._num_made
        index = bisect_right(self._block_ends, self._num_made)
        end = self._block_ends[index] if index < len(self._block_ends) else self._num_made
        whole = self._block_ends[index - 1] if index else 0
        return self._num_made if self._num_made >= end - self._num_late else whole
