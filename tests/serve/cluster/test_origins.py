"""A machine is told an origin again before it has forgotten it."""

from __future__ import annotations

import asyncio

from musetalk_cli.serve.cluster.origins import MAX_ORIGINS, ToldOrigins


def test_the_oldest_are_told_again() -> None:
    async def run() -> None:
        told = ToldOrigins(["http://localhost:8900"])
        assert told.is_fixed("http://localhost:8900")
        answer = asyncio.get_running_loop().create_future()
        names = [f"http://host{number}" for number in range(MAX_ORIGINS)]
        for name in names:
            assert told.answer(name) is None
            told.add(name, answer)
        known = [name for name in names if told.answer(name)]
        assert known == names[MAX_ORIGINS // 2 :]
        told.discard(names[-1])
        assert told.answer(names[-1]) is None

    asyncio.run(run())
