"""The two ends of a measured pipeline: a source that is pushed into, and a sink that notes when frames come."""

from __future__ import annotations

import queue
import threading
import time

from musetalk_cli.engine.outputs.fragments import Fragment, InitSegment
from musetalk_cli.engine.types.messages import AudioArray


class PushSource:
    """An AudioSource that gives what is pushed into it, when it is pushed."""

    num_channels = 1
    duration_s = None

    def __init__(self) -> None:
        self._audio: queue.SimpleQueue[AudioArray | None] = queue.SimpleQueue()

    def push(self, audio: AudioArray) -> None:
        """The next samples, int16 (n, 1)."""
        self._audio.put(audio)

    def finish(self) -> None:
        """Nothing more will be pushed."""
        self._audio.put(None)

    def open(self) -> None:
        """Nothing to wait for."""

    def read(self) -> AudioArray | None:
        return self._audio.get()

    def stop(self) -> None:
        self.finish()

    def close(self) -> None:
        self.finish()


class TimestampSink:
    """A Sink that keeps nothing but when each frame's last byte came, by ``time.perf_counter()``."""

    name = "nowhere"
    where = None

    def __init__(self) -> None:
        self.times_s: list[float] = []
        self._changed = threading.Condition()

    def begin(self, init_segment: InitSegment) -> None:
        """No frame has come yet."""

    def write(self, fragment: Fragment) -> None:
        now_s = time.perf_counter()
        with self._changed:
            self.times_s += [now_s] * fragment.num_frames
            self._changed.notify_all()

    def wait_for(self, num_frames: int, timeout_s: float) -> bool:
        """Wait until so many frames have come; False when they have not."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.times_s) >= num_frames, timeout_s)

    def cancel(self) -> None:
        """It never waits."""

    def close(self, *, is_whole: bool, is_final: bool) -> None:
        """Nothing was opened."""
