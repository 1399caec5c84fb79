"""The session for asyncio: same items, never blocking the loop, nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time

import numpy as np
import pytest

from fixtures.fakes import FakeModel, fake_avatar, tone
from musetalk_cli.engine.async_session import AsyncSession
from musetalk_cli.engine.session import Session, SessionSettings
from musetalk_cli.engine.types.session import Frame, Interruption, UtteranceFinished, UtteranceStarted
from musetalk_cli.errors import SessionError


def open_session() -> AsyncSession:
    return AsyncSession(lambda: Session(FakeModel(), fake_avatar(), SessionSettings(late_after_s=1e9)))


def test_an_utterance_comes_out_whole() -> None:
    async def main() -> list[object]:
        async with open_session() as session:
            await session.push(tone(0.6), 48_000)
            await session.finish()
            return [item async for item in session]

    items = asyncio.run(main())
    spoken = [item for item in items if isinstance(item, Frame) and item.utterance == 0]
    assert np.array_equal(np.concatenate([frame.audio for frame in spoken]), tone(0.6))
    assert isinstance(items[-1], UtteranceFinished)


def test_the_loop_runs_on_while_frames_are_waited_for() -> None:
    async def main() -> int:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.005)
                ticks += 1

        async with open_session() as session:
            ticker = asyncio.create_task(tick())
            for _ in range(15):
                await anext(session)
            ticker.cancel()
        return ticks

    assert asyncio.run(main()) > 10


def test_a_cancelled_wait_loses_no_frame() -> None:
    async def main() -> list[int]:
        numbers: list[int] = []
        async with open_session() as session:
            while len(numbers) < 12:
                try:
                    item = await asyncio.wait_for(anext(session), 0.01)
                except asyncio.TimeoutError:
                    continue
                if isinstance(item, Frame):
                    numbers.append(item.number)
        return numbers

    assert asyncio.run(main()) == list(range(12))


def test_clear_is_not_kept_waiting_by_a_push() -> None:
    async def main() -> Interruption:
        settings = SessionSettings(max_queued_s=0.5)
        async with AsyncSession(lambda: Session(FakeModel(), fake_avatar(), settings)) as session:
            pushing = asyncio.gather(*(session.push(tone(8.0), 48_000) for _ in range(3)))
            async for item in session:
                if isinstance(item, UtteranceStarted):
                    break
            await anext(session)
            interruption = await asyncio.wait_for(session.clear(), 2)
            session.session.close()
            await asyncio.gather(asyncio.wait_for(pushing, 5), return_exceptions=True)
            return interruption

    assert asyncio.run(main()) == Interruption(0, 1 / 25)


def test_what_waited_to_be_pushed_is_interrupted_too() -> None:
    async def main() -> tuple[int | None, float]:
        settings = SessionSettings(max_queued_s=0.5)
        async with AsyncSession(lambda: Session(FakeModel(), fake_avatar(), settings)) as session:
            pushing = asyncio.gather(*(session.push(tone(8.0), 48_000) for _ in range(3)))
            async for item in session:
                if isinstance(item, UtteranceStarted):
                    break
            await session.clear()
            await asyncio.wait_for(pushing, 5)
            return session.session.last_utterance, session.session.queued_s

    assert asyncio.run(main()) == (0, 0.0)


def test_errors_come_through() -> None:
    async def main() -> None:
        async with open_session() as session:
            await session.push(np.zeros(3), 48_000)

    with pytest.raises(SessionError, match="float64"):
        asyncio.run(main())


def test_opening_does_not_block_the_loop_and_errors_come_through() -> None:
    opened = threading.Event()

    def open_late() -> Session:
        opened.wait(5)
        raise SessionError("no such avatar")

    async def main() -> None:
        async def release() -> None:
            opened.set()

        session = AsyncSession(open_late)
        task = asyncio.create_task(release())
        with pytest.raises(SessionError, match="no such avatar"):
            async with session:
                pass
        await task

    asyncio.run(main())


def test_it_is_opened_by_async_with() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        open_session().session  # noqa: B018


def test_a_closed_session_says_so_as_the_one_that_it_wraps() -> None:
    async def main() -> None:
        async with open_session() as session:
            await session.close()
            await session.close()
            with pytest.raises(SessionError, match="closed"):
                await session.push(tone(0.1), 48_000)
            with pytest.raises(SessionError, match="closed"):
                await session.clear()
            await session.end_utterance()
            await session.finish()
            assert [item async for item in session] == []

    asyncio.run(main())


def test_a_push_whose_turn_comes_after_the_close_is_told_of_it() -> None:
    """Were it cancelled, its task would take that for its own end, and say nothing."""

    async def main() -> object:
        may_go_on = threading.Event()
        session = await open_session().__aenter__()
        session._pushing.submit(may_go_on.wait, 5)  # as an earlier push that waits
        pushing = asyncio.ensure_future(session.push(tone(0.1), 48_000))
        await asyncio.sleep(0)
        await session.close()
        may_go_on.set()
        return (await asyncio.gather(pushing, return_exceptions=True))[0]

    assert isinstance(asyncio.run(main()), SessionError)


def test_an_opening_that_is_cancelled_as_it_ends_leaves_no_session() -> None:
    async def main(num_steps: int) -> Session:
        opened: list[Session] = []
        may_open = threading.Event()

        def open_it() -> Session:
            may_open.wait(5)
            opened.append(Session(FakeModel(), fake_avatar(), SessionSettings()))
            return opened[0]

        session = AsyncSession(open_it)
        opening = asyncio.ensure_future(session.__aenter__())
        await asyncio.sleep(0.01)
        may_open.set()
        time.sleep(0.05)  # the loop stands still meanwhile
        for _ in range(num_steps):
            await asyncio.sleep(0)
        opening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await (await opening).close()
        await asyncio.sleep(0.1)
        return opened[0]

    for num_steps in range(8):
        with pytest.raises(SessionError):
            asyncio.run(main(num_steps)).push(tone(0.1), 48_000)
