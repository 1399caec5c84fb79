"""The pool of workers, with real processes: what dies ends only itself, and nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from fixtures.worker_client import WorkerClient
from musetalk_cli.configuration.schema import Config, VideoConfig, WarpConfig
from musetalk_cli.serve.wire import Kind, WorkerSettings
from musetalk_cli.serve.worker.capacity import make_voice
from musetalk_cli.serve.workers import WorkerError, WorkerPool

T = TypeVar("T")
CONFIG = Config(model="warp", video=VideoConfig(size=128), warp=WarpConfig(life=False))
DEADLINE_S = 40.0
MODES = [
    pytest.param(False, id="forked", marks=pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux")),
    pytest.param(True, id="shared"),
]
forked = pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux")


class Pool:
    """A pool with a loop of its own, which runs while something is awaited."""

    def __init__(
        self,
        config: Config = CONFIG,
        *,
        shares_process: bool | None = None,
        avatars: tuple[str, ...] = ("nora",),
        origins: dict[str, str] | None = None,
    ) -> None:
        self.lines: list[str] = []
        self.loop = asyncio.new_event_loop()
        settings = WorkerSettings(config, avatars, shares_process=shares_process, measures=False, origins=origins or {})
        self.pool = self.run(self._make(settings))
        self.ready = None

    async def _make(self, settings: WorkerSettings) -> WorkerPool:
        return WorkerPool(settings, self.lines.append)

    def run(self, work: Awaitable[T]) -> T:
        return self.loop.run_until_complete(work)

    def start(self) -> Pool:
        self.ready = self.run(self.pool.start())
        return self

    def connect(self) -> WorkerClient:
        """A connection that this thread reads."""
        _, writer = self.run(self.pool.connect())
        client = WorkerClient(writer.get_extra_info("socket").dup())
        writer.transport.abort()  # closes the loop's end, of which ours is a copy
        self.run(asyncio.sleep(0))
        return client

    def speak(self) -> WorkerClient:
        """A session that speaks."""
        client = self.connect()
        client.start(rate_hz=48_000)
        client.push(make_voice(8.0))
        client.wait_for_message("utterance_started")
        return client

    def sessions(self) -> list[psutil.Process]:
        """Processes that run a session; one that waits for its connection has a single thread."""
        return [child for child in self.children() if count_threads(child) > 1]

    def children(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.pool.host_pid).children()
        except psutil.NoSuchProcess:
            return []

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        async def wait() -> None:
            while not is_so():
                await asyncio.sleep(0.02)

        self.run(asyncio.wait_for(wait(), DEADLINE_S))

    def close(self, grace_s: float = 0.0) -> None:
        self.run(self.pool.close(grace_s))
        self.loop.close()


def count_threads(process: psutil.Process) -> int:
    try:
        return process.num_threads()
    except psutil.Error:
        return 0


@pytest.fixture(params=MODES)
def pool(request: pytest.FixtureRequest) -> Iterator[Pool]:
    pool = Pool(shares_process=request.param).start()
    yield pool
    pool.close()


@pytest.fixture
def forking_pool() -> Iterator[Pool]:
    pool = Pool(shares_process=False).start()
    yield pool
    pool.close()


def test_what_is_offered_is_said_at_the_start(pool: Pool) -> None:
    ready = pool.ready
    assert [(avatar.name, avatar.kind, avatar.width, avatar.height) for avatar in ready.avatars] == [
        ("nora", "built in", 128, 128)
    ]
    assert ready.avatars[0].thumbnail.startswith(b"\xff\xd8")
    assert (ready.model, ready.fps, ready.max_sessions) == ("warp", 25.0, None)


def test_sessions_speak_beside_each_other(pool: Pool) -> None:
    clients = [pool.connect() for _ in range(4)]
    for client in clients:
        assert client.start(rate_hz=48_000)["type"] == "ready"
        client.push(make_voice(0.6))
        client.send(Kind.FINISH)
    for client in clients:
        assert client.read_all()[-1] == {"kind": "FINISHED"}
        client.close()


def test_a_connection_that_is_closed_frees_its_session(pool: Pool) -> None:
    client = pool.speak()
    host = psutil.Process(pool.pool.host_pid)
    assert pool.sessions() or host.num_threads() > 1
    client.close()
    pool.wait_until(lambda: not pool.sessions() and host.num_threads() == 1)


@forked
def test_spare_processes_wait_and_are_replaced(forking_pool: Pool) -> None:
    forking_pool.wait_until(lambda: len(forking_pool.children()) == 2)
    client = forking_pool.speak()
    forking_pool.wait_until(lambda: len(forking_pool.children()) == 3)
    client.close()
    forking_pool.wait_until(lambda: len(forking_pool.children()) == 2)


@forked
def test_sessions_take_memory_in_small_pages_and_their_host_as_it_comes(forking_pool: Pool) -> None:
    forking_pool.wait_until(lambda: len(forking_pool.children()) == 2)
    client = forking_pool.speak()
    host, *sessions = (
        Path(f"/proc/{process.pid}/status").read_text()
        for process in (psutil.Process(forking_pool.pool.host_pid), *forking_pool.sessions())
    )
    if "THP_enabled" not in host:
        pytest.skip("Linux before 5.0 does not tell")
    assert ["THP_enabled:\t0\n" in each for each in (host, *sessions)] == [False, True]
    client.close()


@forked
def test_a_voice_that_is_interrupted_gives_its_memory_back(forking_pool: Pool) -> None:
    client = forking_pool.speak()
    (process,) = forking_pool.sessions()
    client.wait_for_fragments(20)
    spoken = process.memory_full_info().uss
    client.send(Kind.CLEAR)
    for _ in range(200):
        client.wait_for_fragments(1)
        if process.memory_full_info().uss < spoken - 1_000_000:
            break
    else:
        pytest.fail("the memory stays with the session")
    client.close()


@forked
def test_a_session_whose_process_is_killed_ends_alone(forking_pool: Pool) -> None:
    first = forking_pool.speak()
    (process,) = forking_pool.sessions()
    second = forking_pool.speak()
    process.kill()
    with pytest.raises((EOFError, ConnectionError)):
        first.wait_for_message("utterance_finished")
    second.wait_for_fragments(20)
    forking_pool.wait_until(lambda: len(forking_pool.children()) == 3)
    forking_pool.speak().close()
    assert forking_pool.pool.num_restarts == 0
    first.close()
    second.close()


@forked
def test_a_spare_process_that_is_killed_is_replaced(forking_pool: Pool) -> None:
    forking_pool.wait_until(lambda: len(forking_pool.children()) == 2)
    killed = forking_pool.children()
    for process in killed:
        process.kill()
    forking_pool.wait_until(lambda: len(set(forking_pool.children()) - set(killed)) == 2)


@forked
def test_sessions_outlive_their_host_which_comes_back(forking_pool: Pool) -> None:
    client = forking_pool.speak()
    (session,) = forking_pool.sessions()
    old = psutil.Process(forking_pool.pool.host_pid)
    old.kill()
    forking_pool.wait_until(lambda: forking_pool.pool.num_restarts == 1)
    forking_pool.wait_until(lambda: forking_pool.pool.is_ready)
    client.wait_for_fragments(20)
    other = forking_pool.speak()
    assert "SIGKILL" in forking_pool.lines[0]
    other.close()
    client.close()
    forking_pool.wait_until(lambda: not is_running(session))


def test_a_host_with_all_sessions_comes_back(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("musetalk_cli.serve.workers.CONNECT_S", DEADLINE_S)
    os.kill(pool.pool.host_pid, signal.SIGKILL)
    pool.wait_until(lambda: pool.pool.num_restarts == 1)
    pool.speak().close()  # waits for the next host


def test_no_worker_means_an_error_after_some_time(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("musetalk_cli.serve.workers.CONNECT_S", 0.1)
    monkeypatch.setattr("musetalk_cli.serve.workers.BACK_OFF_S", (60.0, 60.0))
    os.kill(pool.pool.host_pid, signal.SIGKILL)
    pool.wait_until(lambda: pool.pool.num_restarts == 1)
    with pytest.raises(WorkerError, match="no worker is ready"):
        pool.run(pool.pool.connect())


def test_a_host_that_cannot_start_says_why(capfd: pytest.CaptureFixture[str]) -> None:
    pool = Pool(avatars=("nora", "norra"))
    with pytest.raises(WorkerError, match="there is no avatar 'norra'") as caught:
        pool.start()
    assert caught.value.hint == "did you mean 'nora'?"
    assert capfd.readouterr() == ("", "")
    pool.close()


def test_who_starts_a_server_reads_what_could_be_typed() -> None:
    pool = Pool(replace(CONFIG, model="wrap"), origins={"model": "--model"})
    with pytest.raises(WorkerError, match=r"^--model wrap: must be auto, warp"):
        pool.start()
    pool.close()


def test_a_host_that_dies_at_its_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("musetalk_cli.serve.workers.sys.executable", "/bin/true")
    pool = Pool()
    with pytest.raises(WorkerError, match=r"ended before they were ready \(exit code 0\)"):
        pool.start()
    pool.close()


@pytest.mark.parametrize(
    ("does", "problem"),
    [
        ("printf '{\"avatars\": [{'", r"ended before they were ready \(exit code 0\)"),
        ("echo loading", r"first line is not what they hold, but b'loading"),
    ],
)
def test_a_host_that_does_not_say_what_it_holds_is_started_again(
    does: str, problem: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "host"
    program.write_text(f"#!/bin/sh\nread line\n{does}\n")
    program.chmod(0o700)
    pool = Pool().start()
    with monkeypatch.context() as broken:
        broken.setattr("musetalk_cli.serve.workers.sys.executable", str(program))
        os.kill(pool.pool.host_pid, signal.SIGKILL)
        pool.wait_until(lambda: len(pool.lines) > 1)
    assert re.search(problem, pool.lines[1])
    pool.wait_until(lambda: pool.pool.is_ready)
    pool.close()


def test_sessions_get_their_time_to_end(pool: Pool) -> None:
    client = pool.connect()
    client.start(rate_hz=48_000)
    client.push(make_voice(0.5))
    client.send(Kind.FINISH)

    async def close() -> int:
        reading = asyncio.get_running_loop().run_in_executor(None, client.read_all)
        await pool.pool.close(10)
        return len(await reading)

    pool.run(close())
    assert client.log[-1] == {"kind": "FINISHED"}
    pool.run(pool.loop.shutdown_default_executor())
    client.close()


def test_closing_ends_sessions_that_go_on(pool: Pool) -> None:
    client = pool.speak()
    family = [psutil.Process(pool.pool.host_pid), *pool.children()]
    pool.run(pool.pool.close(0))
    pool.wait_until(lambda: not any(map(is_running, family)))
    client.close()


SERVER = """
import asyncio, sys
from tests.serve.test_workers import CONFIG
from musetalk_cli.serve.wire import Kind, WorkerSettings, pack_message, read_message
from musetalk_cli.serve.workers import WorkerPool

async def main():
    pool = WorkerPool(WorkerSettings(CONFIG, ("nora",), shares_process=sys.argv[1] == "True", measures=False), print)
    await pool.start()
    reader, writer = await pool.connect()
    writer.write(pack_message(Kind.START, b'{"type": "start"}'))
    for _ in range(4):
        await read_message(reader)
    print(pool._folder, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.parametrize("shares_process", MODES)
def test_nothing_is_left_of_a_server_that_is_killed(shares_process: bool) -> None:
    command = [sys.executable, "-c", SERVER, str(shares_process)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        folder = Path(server.stdout.readline().strip())
        family = psutil.Process(server.pid).children(recursive=True)
        assert len(family) == (1 if shares_process else 4)
        assert folder.stat().st_mode & 0o777 == 0o700
        server.kill()
    _, left = psutil.wait_procs(family, DEADLINE_S)
    assert [process for process in left if is_running(process)] == []
    assert not folder.exists()


def is_running(process: psutil.Process) -> bool:
    """Zombies are the business of whoever their parent is."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("shares_process", MODES)
def test_a_hundred_sessions_leave_nothing_in_the_host(shares_process: bool) -> None:
    pool = Pool(shares_process=shares_process).start()
    host = psutil.Process(pool.pool.host_pid)

    def open_and_close(count: int) -> tuple[int, int, int]:
        for index in range(count):
            with pool.connect() as client:
                if index % 4:
                    client.start(rate_hz=48_000)
                if index % 4 > 1:
                    client.push(make_voice(0.3))
                if index % 4 > 2:
                    client.wait_for_fragments(2)
        pool.wait_until(lambda: not pool.sessions() and host.num_threads() == 1)
        pool.wait_until(lambda: len(pool.children()) == (0 if shares_process else 2))
        return host.memory_info().rss, host.num_fds(), host.num_threads()

    before = open_and_close(60)
    after = open_and_close(100)
    assert after[0] <= 1.05 * before[0]
    assert after[1:] == before[1:]
    pool.close()
