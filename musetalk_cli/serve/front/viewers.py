"""Others watch a session: the init segment, then fragments from a keyframe on, each viewer with a bounded queue."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

MAX_QUEUED_BYTES = 4 << 20
MAX_QUEUED_FRAGMENTS = 128  # 5 s at 25 fps
MAX_VIEWERS = 32  # of one session
LAST_S = 5.0  # the last of a session may take so long to leave
KEYFRAMES_APART_S = 0.5  # those that viewers cause; each is large


class Viewer:
    """What waits for one viewer. ``is_slow`` once more than its bound would have had to wait: it gets nothing more."""

    def __init__(self, cut: Callable[[], None]) -> None:
        """``cut`` ends its connection, which may wait for a client that reads nothing."""
        self.is_slow = False
        self._cut = cut
        self._last: asyncio.TimerHandle | None = None
        self._queue: deque[bytes] = deque()
        self._num_bytes = 0
        self._has_begun = self._is_over = False
        self._changed = asyncio.Event()

    @property
    def has_begun(self) -> bool:
        """Whether it has had its keyframe."""
        return self._has_begun

    def offer(self, data: bytes, *, is_keyframe: bool) -> bool:
        """Queue a fragment, once one with a keyframe was there. False: it is too slow, and has been given up."""
        self._has_begun = self._has_begun or is_keyframe
        if not self._has_begun:
            return True
        self._num_bytes += len(data)
        if len(self._queue) >= MAX_QUEUED_FRAGMENTS or self._num_bytes > MAX_QUEUED_BYTES:
            self.is_slow = True
            self._queue.clear()
            self._cut()
            return False
        self._queue.append(data)
        self._changed.set()
        return True

    def end(self) -> None:
        """Nothing more will come; what is queued has LAST_S to leave."""
        self._is_over = True
        self._changed.set()
        self._last = asyncio.get_running_loop().call_later(LAST_S, self._cut)

    def leave(self) -> None:
        """It has gone."""
        if self._last:
            self._last.cancel()

    async def fragments(self) -> AsyncIterator[bytes]:
        """What is queued, as it comes, until the end."""
        while True:
            while self._queue:
                data = self._queue.popleft()
                self._num_bytes -= len(data)
                yield data
            if self._is_over:
                return
            self._changed.clear()
            await self._changed.wait()


class Channel:
    """The video of one session, for its viewers. ``ask_for_keyframe`` is called when one waits to begin."""

    def __init__(self, ask_for_keyframe: Callable[[], None]) -> None:
        self.init_segment = b""
        self.viewers: set[Viewer] = set()
        self._ask_for_keyframe = ask_for_keyframe
        self._is_asked = False
        self._asked_at = float("-inf")

    def join(self, viewer: Viewer) -> None:
        """A new viewer; its first fragment will have a keyframe."""
        self.viewers.add(viewer)
        if not self._is_asked:
            self._is_asked = True
            loop = asyncio.get_running_loop()
            self._asked_at = max(loop.time(), self._asked_at + KEYFRAMES_APART_S)
            loop.call_at(self._asked_at, self._ask_for_keyframe)

    def leave(self, viewer: Viewer) -> None:
        """A viewer has gone."""
        self.viewers.discard(viewer)
        viewer.leave()

    def publish(self, data: bytes, *, is_keyframe: bool) -> None:
        """Hand a fragment to all; nobody is waited for."""
        self._is_asked = self._is_asked and not is_keyframe
        for viewer in list(self.viewers):
            if not viewer.offer(data, is_keyframe=is_keyframe):
                self.viewers.discard(viewer)

    def close(self) -> None:
        """The session has ended, and with it what its viewers see."""
        for viewer in list(self.viewers):
            viewer.end()
        self.viewers.clear()
