"""One destination of a live stream: a sink with a thread and a bounded queue, so that it can stall nobody else."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from musetalk_cli.engine.outputs.drop_oldest import QUEUE_FRAMES, DropOldestQueue
from musetalk_cli.engine.outputs.fragments import Fragment, InitSegment
from musetalk_cli.engine.outputs.sinks import FileSink, Sink
from musetalk_cli.engine.runtime.stage import Aborted
from musetalk_cli.engine.runtime.stats import TargetHealth, TargetState
from musetalk_cli.errors import MuseTalkError

# A destination on this machine that takes nothing for this long when the stream has ended is left.
CLOSE_S = 5.0


class Target(ABC):
    """A Sink whose thread carries fragments from its queue to a destination; ``_deliver`` is what subclasses do there.

    ``begin`` and ``write`` never wait. What they would raise is kept in ``error``.
    """

    is_file = False

    def __init__(self, name: str, tell: Callable[[str], None]) -> None:
        self.name = name
        self.queue = DropOldestQueue()
        self.error: BaseException | None = None
        self.has_failed = False
        self._tell = tell
        self._state: TargetState = "waiting"
        self._num_bytes = 0
        self._num_restarts = 0
        self._moved_at = time.monotonic()
        self._init_segment = InitSegment(b"")
        self.is_cut_off = False  # by ``cancel``, before it had everything
        self.is_complete = False  # after ``close``: it has everything, of a run that nothing ended before its time
        self._thread = threading.Thread(target=self._run, name=f"musetalk-target-{name}", daemon=True)

    def begin(self, init_segment: InitSegment) -> None:
        self._init_segment = init_segment
        self._thread.start()

    def write(self, fragment: Fragment) -> None:
        self.queue.put(fragment)

    def drop_waiting(self) -> None:
        """Leave out what waits, up to the last keyframe; a file gets everything. May be called from any thread."""
        if not self.is_file:
            self.queue.skip_to_keyframe()

    @property
    @abstractmethod
    def where(self) -> str | None:
        """After ``close``: where what was sent went; None when nothing arrived."""

    @property
    def is_over(self) -> bool:
        """Whether nothing more will reach it."""
        return self._state in ("gone", "ended")

    @property
    def is_hopeless(self) -> bool:
        """Gone for good, or never reached."""
        return self._state == "gone" or (self.has_failed and not self._num_bytes)

    def health(self) -> TargetHealth:
        is_behind = self._state == "live" and self.queue.num_frames > QUEUE_FRAMES // 2
        state = "behind" if is_behind else self._state
        return TargetHealth(self.name, state, self._num_bytes, self.queue.num_dropped, self._num_restarts)

    def discard(self) -> None:  # noqa: B027 - most targets have nothing to remove
        """After ``close``: remove what was written, where that can be removed."""

    def cancel(self) -> None:
        """Drop what waits; may be called from any thread."""
        self.is_cut_off = self.is_cut_off or self._thread.is_alive()
        self._drop()

    def _drop(self) -> None:
        self.queue.cancel()

    def close(self, *, is_whole: bool, is_final: bool) -> None:
        """Let what waits go out, unless the run was aborted, and end the thread."""
        if not is_whole:
            self._drop()
        self.queue.finish()
        self._moved_at = time.monotonic()
        while self._thread.ident is not None and self._thread.is_alive():
            self._thread.join(0.1)
            if time.monotonic() - self._moved_at > CLOSE_S:
                self._drop()

    def _run(self) -> None:
        try:
            self._deliver()
            if self._state != "gone":
                self._state = "ended"
        except Aborted:
            self._state = "ended"
        except BaseException as error:  # it belongs to whoever owns the fan-out
            self.error = error
            self._state = "gone"
            self.queue.cancel()

    @abstractmethod
    def _deliver(self) -> None:
        """Take from the queue and send, until it ends. Raises Aborted, or whatever ends the run."""

    def _note(self, num_bytes: int) -> None:
        self._num_bytes += num_bytes
        self._moved_at = time.monotonic()
        self._state = "live"


class LocalTarget(Target):
    """Standard output, a pipe or a file: an MP4 as it is. What is gone here cannot be opened again."""

    def __init__(self, sink: Sink, tell: Callable[[str], None]) -> None:
        super().__init__(sink.name, tell)
        self.is_file = isinstance(sink, FileSink)
        self._sink = sink

    @property
    def where(self) -> str | None:
        return self._sink.where

    def _drop(self) -> None:
        super()._drop()
        self._sink.cancel()

    def close(self, *, is_whole: bool, is_final: bool) -> None:
        super().close(is_whole=is_whole, is_final=is_final)
        is_complete = is_whole and self.error is None and not self.is_cut_off
        try:
            self._sink.close(is_whole=is_complete, is_final=is_final and is_complete)
        except Aborted:
            self.is_cut_off = True
        except MuseTalkError as error:
            self.error = self.error or error

    def discard(self) -> None:
        if isinstance(self._sink, FileSink):
            self._sink.discard()

    def _deliver(self) -> None:
        self._sink.begin(self._init_segment)
        self._note(len(self._init_segment.data))
        while (fragment := self.queue.take()) is not None:
            self._sink.write(fragment)
            self._note(len(fragment.data))
