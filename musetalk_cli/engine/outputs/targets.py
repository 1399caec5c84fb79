"""One destination of a live stream, with a thread and a bounded ring of its own, so that it can stall nobody else."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable

from musetalk_cli.engine.outputs.fragments import Fragment
from musetalk_cli.engine.outputs.sinks import FileSink, Sink
from musetalk_cli.engine.runtime.stage import Aborted
from musetalk_cli.engine.runtime.stats import TargetHealth, TargetState
from musetalk_cli.errors import MuseTalkError

# Frames that wait for a slow target: some seconds, as long as a network's hiccup. Beyond that its oldest go.
QUEUE_FRAMES = 150
# A destination on this machine that takes nothing for this long when the stream has ended is left.
CLOSE_S = 5.0


class DropOldestQueue:
    """Fragments that wait for one target. When it is full, the oldest whole groups of frames are dropped; what comes
    out after a gap begins with a keyframe."""

    def __init__(self, max_frames: int = QUEUE_FRAMES) -> None:
        self.num_dropped = 0
        self._max_frames = max_frames
        self._fragments: deque[Fragment] = deque()
        self._num_frames = 0
        self._needs_keyframe = True
        self._is_finished = self._is_cancelled = False
        self._changed = threading.Condition()

    def put(self, fragment: Fragment) -> None:
        """Add a fragment; never waits."""
        with self._changed:
            if self._needs_keyframe and not fragment.is_keyframe:
                self.num_dropped += fragment.num_frames
                return
            self._needs_keyframe = False
            self._fragments.append(fragment)
            self._num_frames += fragment.num_frames
            if self._num_frames > self._max_frames:
                self._drop_oldest()
            self._changed.notify_all()

    def wait_for_room(self) -> float:
        """Wait until ``put`` would drop nothing, or the ring is closed; the seconds that took."""
        started = time.monotonic()
        with self._changed:
            if self._has_room():
                return 0.0
            self._changed.wait_for(self._has_room)
        return time.monotonic() - started

    def take(self) -> Fragment | None:
        """The next piece, waiting for one; None when the stream has ended, or the ring was cancelled."""
        with self._changed:
            self._changed.wait_for(lambda: self._fragments or self._is_finished or self._is_cancelled)
            if self._is_cancelled or not self._fragments:
                return None
            fragment = self._fragments.popleft()
            self._num_frames -= fragment.num_frames
            self._changed.notify_all()
            return fragment

    def skip_to_newest(self) -> None:
        """Keep the last group of frames only, for a target that begins anew."""
        with self._changed:
            keyframes = [index for index, fragment in enumerate(self._fragments) if fragment.is_keyframe]
            self._drop(keyframes[-1] if keyframes else len(self._fragments))
            self._needs_keyframe = not keyframes

    def pause(self, duration_s: float) -> None:
        """Wait, but no longer than the ring lives."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_finished or self._is_cancelled, duration_s)

    def finish(self) -> None:
        with self._changed:
            self._is_finished = True
            self._changed.notify_all()

    def cancel(self) -> None:
        with self._changed:
            self._is_cancelled = True
            self._changed.notify_all()

    @property
    def is_closing(self) -> bool:
        return self._is_finished or self._is_cancelled

    @property
    def is_cancelled(self) -> bool:
        return self._is_cancelled

    @property
    def num_frames(self) -> int:
        return self._num_frames

    def _has_room(self) -> bool:
        return self._num_frames < self._max_frames or self._is_cancelled

    def _drop_oldest(self) -> None:
        later = [index for index, fragment in enumerate(self._fragments) if index and fragment.is_keyframe]
        self._needs_keyframe = not later
        self._drop(later[0] if later else len(self._fragments))

    def _drop(self, num_fragments: int) -> None:
        for _ in range(num_fragments):
            num_frames = self._fragments.popleft().num_frames
            self.num_dropped += num_frames
            self._num_frames -= num_frames


class Target(ABC):
    """A thread that carries pieces from its ring to a destination; ``_deliver`` is what subclasses do there."""

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
        self._header = b""
        self._thread = threading.Thread(target=self._run, name=f"musetalk-target-{name}", daemon=True)

    def begin(self, header: Fragment) -> None:
        """The stream's header is known: start."""
        self._header = header.data
        self._thread.start()

    @property
    @abstractmethod
    def where(self) -> str | None:
        """After ``close``: where what was sent lies or went; None when nothing arrived."""

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

    def cancel(self) -> None:
        """Drop what waits; may be called from any thread."""
        self.queue.cancel()

    def close(self, *, is_whole: bool, is_final: bool) -> None:
        """Let what waits go out, unless the run was aborted, and end the thread."""
        if not is_whole:
            self.cancel()
        self.queue.finish()
        self._moved_at = time.monotonic()
        while self._thread.ident is not None and self._thread.is_alive():
            self._thread.join(0.1)
            if time.monotonic() - self._moved_at > CLOSE_S:
                self.cancel()

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
        """Take from the ring and send, until it ends. Raises Aborted, or whatever ends the run."""

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

    def cancel(self) -> None:
        super().cancel()
        self._sink.cancel()

    def close(self, *, is_whole: bool, is_final: bool) -> None:
        super().close(is_whole=is_whole, is_final=is_final)
        is_complete = is_whole and self.error is None
        try:
            self._sink.close(is_whole=is_complete, is_final=is_final and is_complete)
        except MuseTalkError as error:
            self.error = self.error or error

    def _deliver(self) -> None:
        self._write(self._header)
        while (fragment := self.queue.take()) is not None:
            self._write(fragment.data)

    def _write(self, data: bytes) -> None:
        self._sink.write(data)
        self._note(len(data))
