"""A queue for a target that is slower than the stream: when it is full, the oldest frames are dropped."""

from __future__ import annotations

import threading
import time
from collections import deque

from musetalk_cli.engine.outputs.fragments import Fragment

# Frames that wait for a slow target: some seconds, as long as a network's hiccup. Beyond that its oldest go.
QUEUE_FRAMES = 150


class DropOldestQueue:
    """Fragments that wait for one target. When it is full, the oldest groups of frames are dropped, up to a
    keyframe."""

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
        """Wait until ``put`` would drop nothing, or the queue is closed; the seconds that took."""
        started = time.monotonic()
        with self._changed:
            if self._has_room():
                return 0.0
            self._changed.wait_for(self._has_room)
        return time.monotonic() - started

    def take(self) -> Fragment | None:
        """The next fragment, waiting for one; None when the stream has ended, or the queue was cancelled."""
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
            last = self._last_keyframe()
            self._drop(len(self._fragments) if last is None else last)
            self._needs_keyframe = last is None

    def skip_to_keyframe(self) -> None:
        """Drop what waits before the last keyframe; nothing where none waits, since the target would stand still until
        the next."""
        with self._changed:
            self._drop(self._last_keyframe() or 0)
            self._changed.notify_all()

    def pause(self, duration_s: float) -> None:
        """Wait, but only until the queue is closed."""
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

    def _last_keyframe(self) -> int | None:
        """The index of the last fragment that waits and is one."""
        keyframes = (index for index, fragment in enumerate(self._fragments) if fragment.is_keyframe)
        return max(keyframes, default=None)

    def _drop_oldest(self) -> None:
        later = [index for index, fragment in enumerate(self._fragments) if index and fragment.is_keyframe]
        self._needs_keyframe = not later
        self._drop(later[0] if later else len(self._fragments))

    def _drop(self, num_fragments: int) -> None:
        for _ in range(num_fragments):
            num_frames = self._fragments.popleft().num_frames
            self.num_dropped += num_frames
            self._num_frames -= num_frames
