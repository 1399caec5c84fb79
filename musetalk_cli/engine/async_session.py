"""A session for asyncio: the same calls as coroutines, which never block the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

from numpy.typing import NDArray

from musetalk_cli.engine.session import Session
from musetalk_cli.engine.session_output import Item
from musetalk_cli.engine.types.session import Interruption

T = TypeVar("T")


class AsyncSession:
    """``async with`` opens and closes the session; ``async for`` gives its frames or fragments, and its events.

    One task iterates; any task may push, end, clear and close. Threads of its own wait in their place: one for what
    comes out, one for what goes in, in its order, and one for what must not wait for either.
    """

    def __init__(self, open_it: Callable[[], Session]) -> None:
        """``open_it`` is called in a thread by ``async with``."""
        self._open_it = open_it
        self._session: Session | None = None
        self._taking, self._pushing, self._calling = (
            ThreadPoolExecutor(1, thread_name_prefix=f"musetalk-{name}") for name in ("taking", "pushing", "calling")
        )
        self._next: asyncio.Future[Item | None] | None = None
        self._is_closed = False

    @property
    def session(self) -> Session:
        """The session that it wraps. Raises RuntimeError before ``async with``."""
        if self._session is None:
            raise RuntimeError("open the session with: async with …")
        return self._session

    async def push(self, samples: NDArray[Any], rate_hz: int, *, waits: bool = True) -> None:
        """See ``Session.push``. Nothing, where ``clear`` is called before its turn has come."""
        session = self.session
        push = partial(session.push_unless_cleared, samples, rate_hz, session.num_clears, waits=waits)
        await self._call(self._pushing, push)

    async def end_utterance(self) -> None:
        """See ``Session.end_utterance``; after all that was pushed before."""
        await self._call(self._pushing, self.session.end_utterance)

    async def finish(self) -> None:
        """See ``Session.finish``; after all that was pushed before."""
        await self._call(self._pushing, self.session.finish)

    async def clear(self) -> Interruption:
        """See ``Session.clear``. It waits for no push, and frees those that wait."""
        return await self._call(self._calling, self.session.clear)

    async def close(self) -> None:
        """See ``Session.close``; ends its threads, too."""
        if self._session is not None:
            await self._call(self._calling, self._session.close)
            self._is_closed = True
        self._end_threads()

    def __aiter__(self) -> AsyncIterator[Item]:
        return self

    async def __anext__(self) -> Item:
        """The next frame, fragment or event. One whose wait was cancelled comes at the next call."""
        if self._next is None:
            if self._is_closed:
                raise StopAsyncIteration
            self._next = asyncio.get_running_loop().run_in_executor(self._taking, next, self.session, None)
        waiting = self._next
        item = await asyncio.shield(waiting)
        self._next = None
        if item is None:
            raise StopAsyncIteration
        return item

    async def __aenter__(self) -> AsyncSession:
        opening = asyncio.ensure_future(self._call(self._calling, self._open_it))
        try:
            self._session = await asyncio.shield(opening)
        except BaseException:
            opening.add_done_callback(_close_unwanted)  # cancelled: it may have been opened at this moment
            self._end_threads()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _end_threads(self) -> None:
        """Once they have done what waits for them: of a closed session, none of it takes long."""
        for executor in (self._taking, self._pushing, self._calling):
            executor.shutdown(wait=False)

    async def _call(self, executor: Executor, function: Callable[[], T]) -> T:
        if self._is_closed:
            return function()  # which waits for nothing any more
        return await asyncio.get_running_loop().run_in_executor(executor, function)


def _close_unwanted(opening: asyncio.Future[Session]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
