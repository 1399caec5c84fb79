"""Calls of actors that are lost: each is answered, with the reason."""

from __future__ import annotations

import asyncio

import pytest

from fixtures.fake_machines import FakeMachines, make_machine
from musetalk_cli.app.cluster.ray_cluster import WorkerLostError
from musetalk_cli.serve.cluster.calls import ActorCalls


def test_the_calls_of_a_lost_actor_raise_its_reason() -> None:
    async def run() -> None:
        machine = make_machine("one")
        calls = ActorCalls(FakeMachines(a=machine))  # type: ignore[arg-type]
        machine.silent = {"state", "usage"}
        first, other = calls.call("a", machine, "state"), calls.call("b", machine, "usage")
        while len(calls._waiting) < 2:
            await asyncio.sleep(0)
        calls.forget("b", "it is gone")
        with pytest.raises(WorkerLostError, match="it is gone"):
            await other
        assert not first.done()
        machine.is_lost = True
        assert await calls.take() == {"a": "its process ended"}
        with pytest.raises(WorkerLostError, match="its process ended"):
            await first
        assert await calls.close(lambda: None, 5.0)

    asyncio.run(run())


def test_a_call_that_cannot_be_sent_raises_why() -> None:
    async def run() -> None:
        cluster = FakeMachines(a=make_machine("one"))
        calls = ActorCalls(cluster)  # type: ignore[arg-type]
        cluster.is_gone = True
        with pytest.raises(RuntimeError, match="no answer from its head"):
            await asyncio.wait_for(calls.call("a", cluster.machines["a"], "state"), 20)
        assert await calls.close(lambda: None, 5.0)

    asyncio.run(run())
