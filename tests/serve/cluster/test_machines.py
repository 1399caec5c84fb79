"""The machines of a cluster: servers are started on each, watched, replaced when they are lost, and ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from fixtures.fake_machines import OFFERED, FakeMachines, make_machine, settings_of
from musetalk_cli.errors import ClusterError
from musetalk_cli.serve.cluster import machines
from musetalk_cli.serve.cluster.machines import MachinePool
from musetalk_cli.serve.cluster.session_machine import MachineReady

PAGE = "http://talk.example"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machines, "COUNT_S", 0.01)
    monkeypatch.setattr(machines, "ASK_S", 0.01)


@asynccontextmanager
async def running(cluster: FakeMachines, lines: list[str]) -> AsyncIterator[MachinePool]:
    pool = MachinePool(cluster, settings_of, lines.append)
    try:
        await pool.start()
        yield pool
    finally:
        await pool.close()


async def until(condition: Callable[[], object]) -> None:
    async def poll() -> None:
        while not condition():
            await asyncio.sleep(0.002)

    await asyncio.wait_for(poll(), 20)


def test_sessions_are_spread_and_pages_let_in() -> None:
    async def run() -> None:
        first, second = make_machine("one", 2), make_machine("two", 4)
        cluster, lines = FakeMachines(a=first, b=second), list[str]()
        async with running(cluster, lines) as pool:
            await until(lambda: pool.max_sessions == 6)
            placed = [await pool.place(PAGE) for _ in range(7)]
            assert (placed.count("http://one:8900/"), placed.count("http://two:8900/")) == (2, 4)
            assert placed[-1] is None
            assert (pool.num_sessions, pool.has_room()) == (6, False)
            assert first.origins == second.origins == [PAGE]  # once each
            assert (await pool.usage()).num_processes == 4
            assert "one (one:8900) takes 2 sessions" in lines
        assert cluster.is_closed
        assert first.num_drains == second.num_drains == 2  # the second time ends them at once

    asyncio.run(run())


def test_a_lost_machine_gets_no_sessions_and_one_that_joins_does() -> None:
    async def run() -> None:
        first, second = make_machine("one", 3), make_machine("two", 3)
        cluster, lines = FakeMachines(a=first), list[str]()
        async with running(cluster, lines) as pool:
            first.num_sessions = 1
            await until(lambda: pool.num_sessions == 1)
            cluster.machines = {"b": second}
            first.is_lost = True
            await until(lambda: pool.num_restarts == 1 and pool.is_ready)
            assert any(line.startswith("one (one:8900) is lost, with 1 sessions") for line in lines)
            assert await pool.place(PAGE) == "http://two:8900/"
            assert cluster.started == ["a", "b"]

    asyncio.run(run())


def test_a_machine_whose_workers_start_again_gets_no_sessions() -> None:
    async def run() -> None:
        machine = make_machine("one")
        async with running(FakeMachines(a=machine), []) as pool:
            machine.is_ready = False
            await until(lambda: not pool.is_ready)
            assert await pool.place(PAGE) is None
            machine.is_ready = True
            await until(lambda: pool.is_ready)
            assert await pool.place(PAGE) == "http://one:8900/"

    asyncio.run(run())


def test_a_machine_without_a_core_has_no_server() -> None:
    async def run() -> None:
        cluster = FakeMachines(head=make_machine("head"), small=make_machine("small"))
        cluster.num_cpus = {"head": 0.5, "small": 1.0}
        async with running(cluster, []) as pool:
            assert await pool.place(PAGE) == "http://small:8900/"
            assert cluster.started == ["small"]

    asyncio.run(run())


def test_a_silent_machine_is_not_asked_again_before_it_answers() -> None:
    async def run() -> None:
        silent, other = make_machine("silent"), make_machine("other")
        cluster = FakeMachines(a=silent, b=other)
        async with running(cluster, []) as pool:
            await until(lambda: pool.max_sessions == 4)
            silent.silent.add("state")
            await until(lambda: cluster.num_asked(silent, "state"))
            num_asked, num_others = cluster.num_asked(silent, "state"), cluster.num_asked(other, "state")
            await until(lambda: cluster.num_asked(other, "state") > num_others + 5)
            assert cluster.num_asked(silent, "state") <= num_asked + 1  # one may have been answered meanwhile

    asyncio.run(run())


def test_a_machine_that_lets_no_page_in_is_asked_again_once_it_answers() -> None:
    async def run() -> None:
        machine = make_machine("one")
        async with running(FakeMachines(a=machine), []) as pool:
            machine.failing.add("allow_origin")
            assert await pool.place(PAGE) is None
            assert pool.num_sessions == 1  # it was asked once, and not for each of its places
            machine.failing.clear()
            await until(lambda: pool.is_ready)
            assert await pool.place(PAGE) == "http://one:8900/"
            assert machine.origins == [PAGE]

    asyncio.run(run())


def test_a_machine_that_does_not_start_is_told_of_and_left_out() -> None:
    async def run() -> None:
        bad = make_machine("bad", error="no avatar is called 'anna'", hint="prepare it")
        cluster, lines = FakeMachines(a=make_machine("good")), list[str]()
        async with running(cluster, lines) as pool:
            cluster.machines["b"] = bad
            await until(lambda: lines[1:])
            assert lines[1] == "bad: no avatar is called 'anna'"
            assert bad.is_lost  # its process was ended
            assert pool.max_sessions == 2
            await asyncio.sleep(0.05)
            assert cluster.started == ["a", "b"]  # not again and again

    asyncio.run(run())


@pytest.mark.parametrize(
    ("ready", "said"),
    [
        ({"error": "no avatar is called 'anna'", "hint": "prepare it"}, "one: no avatar is called 'anna'"),
        ({"version": "0.0.1"}, "one: it has musetalk 0.0.1"),
    ],
)
def test_an_only_machine_that_does_not_start_is_an_error(ready: dict[str, str], said: str) -> None:
    async def run() -> None:
        cluster, lines = FakeMachines(a=make_machine("one", **ready)), list[str]()
        with pytest.raises(ClusterError, match=said) as caught:
            async with running(cluster, lines):
                pass
        assert caught.value.hint == ready.get("hint", "")
        assert lines == []  # the command ends with it
        assert cluster.is_closed

    asyncio.run(run())


def test_a_machine_whose_process_ends_before_it_is_ready() -> None:
    async def run() -> None:
        machine = make_machine("one")
        machine.is_lost = True
        with pytest.raises(ClusterError, match="did not start: its process ended") as caught:
            async with running(FakeMachines(a=machine), []):
                pass
        assert "extras serve and ray" in caught.value.hint

    asyncio.run(run())


def test_a_machine_that_does_not_start_leaves_it_to_the_others() -> None:
    async def run() -> None:
        bad, slow = make_machine("bad", error="no avatar is called 'anna'"), make_machine("slow")
        slow.silent = {"open"}
        cluster, lines = FakeMachines(a=bad, b=slow), list[str]()
        pool = MachinePool(cluster, settings_of, lines.append)
        starting = asyncio.create_task(pool.start())
        await until(lambda: lines)
        assert lines == ["bad: no avatar is called 'anna'"]
        assert not starting.done()
        slow.silent.clear()
        assert (await starting).avatars[0].name == "nora"
        await pool.close()

    asyncio.run(run())


def test_a_machine_that_cannot_read_what_it_is_sent_does_not_start() -> None:
    async def run() -> None:
        machine = make_machine("one")
        machine.failing = {"open"}
        with pytest.raises(ClusterError, match="open takes other arguments") as caught:
            async with running(FakeMachines(a=machine), []):
                pass
        assert "extras serve and ray" in caught.value.hint
        assert machine.is_lost

    asyncio.run(run())


def test_a_place_is_given_when_the_page_is_let_in_there() -> None:
    async def run() -> None:
        machine = make_machine("one")
        machine.silent = {"allow_origin"}
        async with running(FakeMachines(a=machine), []) as pool:
            asked = [asyncio.create_task(pool.place(PAGE)) for _ in range(2)]
            await asyncio.wait(asked, timeout=0.05)
            assert not any(each.done() for each in asked)
            machine.silent.clear()
            assert await asyncio.gather(*asked) == 2 * ["http://one:8900/"]
            assert machine.origins == [PAGE]

    asyncio.run(run())


def test_a_machine_that_does_not_answer_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machines, "ANSWER_S", 0.05)

    async def run() -> None:
        hung, other = make_machine("hung", 32), make_machine("other", 16)
        async with running(FakeMachines(a=hung, b=other), []) as pool:
            await until(lambda: pool.max_sessions == 48)
            hung.silent = {"allow_origin", "state", "usage"}
            await asyncio.wait_for(ask_again(pool), 20)
            hung.is_lost = True
            await until(lambda: pool.max_sessions == 16)

    async def ask_again(pool: MachinePool) -> None:
        """The other one, too, may be late on a busy machine."""
        while (await pool.usage()).num_processes != 2:
            await asyncio.sleep(0.01)
        while await pool.place(PAGE) != "http://other:8900/":
            await asyncio.sleep(0.01)

    asyncio.run(run())


def test_a_cluster_that_answers_again_is_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        cluster, lines = FakeMachines(a=make_machine("one"), b=make_machine("two")), list[str]()
        del cluster.machines["b"]
        async with running(cluster, lines) as pool:
            cluster.is_gone = True
            await until(lambda: lines[1:])
            assert lines[1] == "the cluster does not answer: no answer from its head"
            asked: list[None] = []
            monkeypatch.setattr(cluster, "nodes", lambda: asked.append(None) or FakeMachines.nodes(cluster))
            await until(lambda: len(asked) > 3)
            assert (await pool.usage()).num_processes == 0
            cluster.is_gone = False
            cluster.machines["b"] = make_machine("two")
            await until(lambda: pool.max_sessions == 4)
            assert [await pool.place(PAGE) for _ in range(2)] == ["http://one:8900/", "http://two:8900/"]
            assert sum("does not answer" in line for line in lines) == 1

    asyncio.run(run())


def test_a_cluster_that_does_not_let_go_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machines, "LEAVE_S", 0.05)

    async def run() -> None:
        cluster = FakeMachines(a=make_machine("one"))
        cluster.may_close.clear()
        async with running(cluster, []) as pool:
            assert pool.has_left
        assert not pool.has_left
        cluster.may_close.set()

    asyncio.run(run())


def test_sessions_that_were_not_counted_yet_are_drained(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        machine = make_machine("one")
        async with running(FakeMachines(a=machine), []) as pool:
            monkeypatch.setattr(machines, "ASK_S", 1000.0)
            await asyncio.sleep(0.05)
            machine.num_sessions = 1
            assert pool.num_sessions == 0
            pool.drain()
            assert pool.num_sessions == 1
            await until(lambda: pool.num_sessions == 0)
            assert machine.num_drains == 1

    asyncio.run(run())


def test_a_machine_that_is_told_to_end_before_it_is_ready_is_not_offered() -> None:
    async def run() -> None:
        ended, lines = make_machine("ended"), list[str]()
        ended.ready = MachineReady(machine="ended")
        cluster = FakeMachines(a=make_machine("one"))
        async with running(cluster, lines) as pool:
            cluster.machines["b"] = ended
            await until(lambda: ended.settings)
            await asyncio.sleep(0.05)
            assert pool.max_sessions == 2
            assert lines == ["one (one:8900) takes 2 sessions"]

    asyncio.run(run())


def test_what_a_machine_notes_is_told() -> None:
    async def run() -> None:
        offered, lines = replace(OFFERED, notes=("avatar 'anna' is not offered",)), list[str]()
        async with running(FakeMachines(a=make_machine("one", offered=offered.to_json())), lines):
            assert lines[1] == "one (one:8900): avatar 'anna' is not offered"

    asyncio.run(run())


def test_nothing_is_placed_while_it_drains() -> None:
    async def run() -> None:
        machine = make_machine("one")
        async with running(FakeMachines(a=machine), []) as pool:
            machine.num_sessions = 1
            await until(lambda: pool.num_sessions == 1)
            pool.drain()
            assert await pool.place(PAGE) is None
            await until(lambda: pool.num_sessions == 0)
            assert machine.num_drains == 1

    asyncio.run(run())
