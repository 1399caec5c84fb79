"""A session for asyncio: the same calls as coroutines, which never block the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

from numpy.typing import NDArray

from musetalk_cli.engine.session import Item, Session
from musetalk_cli.engine.types.session import Interruption

T = TypeVar("T")


class AsyncSession:
    """Wraps a session. ``async with`` closes it; ``async for`` gives its frames or fragments, and its events.

    One task iterates; any task may push, end, clear and close. Two threads of its own wait in their place: one for what
    comes out, one for what goes in.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self._taking = ThreadPoolExecutor(1, thread_name_prefix="musetalk-taking")
        self._calling = ThreadPoolExecutor(2, thread_name_prefix="musetalk-calling")
        self._next: asyncio.Future[Item | None] | None = None

    async def push(self, samples: NDArray[Any], rate_hz: int, *, waits: bool = True) -> None:
        """See ``Session.push``."""
        await self._call(partial(self.session.push, samples, rate_hz, waits=waits))

    async def end_utterance(self) -> None:
        """See ``Session.end_utterance``."""
        await self._call(self.session.end_utterance)

    async def clear(self) -> Interruption:
        """See ``Session.clear``. Not kept waiting by a ``push`` that waits."""
        return await self._call(self.session.clear)

    async def finish(self) -> None:
        """See ``Session.finish``."""
        await self._call(self.session.finish)

    async def close(self) -> None:
        """See ``Session.close``; ends its threads, too."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._close)

    def __aiter__(self) -> AsyncIterator[Item]:
        return self

    async def __anext__(self) -> Item:
        """The next frame, fragment or event. One whose wait was cancelled comes at the next call."""
        if self._next is None:
            self._next = asyncio.get_running_loop().run_in_executor(self._taking, next, self.session, None)
        item = await asyncio.shield(self._next)
        self._next = None
        if item is None:
            raise StopAsyncIteration
        return item

    async def __aenter__(self) -> AsyncSession:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _call(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._calling, function)

    def _close(self) -> None:
        self.session.close()
        self._taking.shutdown(wait=True)
        self._calling.shutdown(wait=True)
