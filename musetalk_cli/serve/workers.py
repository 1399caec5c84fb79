"""The pool of workers as the server uses it: a host process that is started, watched, started again and ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from musetalk_cli.errors import MuseTalkError, system_words
from musetalk_cli.serve.output_lines import OutputLines
from musetalk_cli.serve.wire import WorkerSettings, WorkersReady

if TYPE_CHECKING:
    from asyncio.subprocess import Process

MAX_LINE_BYTES = 64 << 20  # of the host's one line, with all thumbnails
MAX_SHOWN = 100  # bytes of a line that is not that
MAX_SOCKET_PATH = 100  # bytes; systems allow 104 to 108
START_S = 300.0  # weights are loaded, graphs recorded
CONNECT_S = 3.0  # a host that is being started again is waited for
BACK_OFF_S = (0.2, 10.0)  # before the first and, doubling, at most before any further start
STEADY_S = 30.0  # a host that lived so long begins with the first again

# No threads of BLAS: see __main__.py. glibc gives each new thread an arena of its own, and a session has many threads:
# memory of a host with 400 sessions behind it grew by 27 MB with as many arenas as it likes, and by 3 MB with two.
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "VECLIB_MAXIMUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}


class WorkerError(MuseTalkError):
    """The workers cannot start, or none takes a session now."""


@dataclass(frozen=True)
class PoolUsage:
    """The host's and its workers' processes, and the memory that they have together: ``pss_bytes`` counts what several
    share once, 0 where the system does not say."""

    num_processes: int
    rss_bytes: int
    pss_bytes: int


class WorkerPool:
    """Starts the host, gives connections to its workers, and starts it again when it dies.

    All of it belongs to one event loop. Sessions outlive their host: one that dies ends none.
    """

    def __init__(self, settings: WorkerSettings, tell: Callable[[str], None]) -> None:
        """``tell`` takes lines for the log: a host that died, and what it could not do."""
        self.num_restarts = 0
        self._settings = settings
        self._tell = tell
        self._output = OutputLines(tell)
        self._folder: Path | None = None
        self._num_started = 0
        self._host: Process | None = None
        self._socket = ""
        self._is_ready = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None
        self._writers: weakref.WeakSet[asyncio.StreamWriter] = weakref.WeakSet()

    async def start(self) -> WorkersReady:
        """Start the host and wait until it takes sessions. Raises WorkerError with its reason and hint."""
        self._folder = _make_folder()
        await self._output.open()
        try:
            ready = await self._start_host()
        except BaseException:
            await self.close(0)
            raise
        self._watching = asyncio.create_task(self._watch(), name="musetalk-workers")
        return ready

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to a worker of its own, which waits for START; ending it ends the worker.

        Raises WorkerError where none takes it in time.
        """
        try:
            return await asyncio.wait_for(self._connect(), CONNECT_S)
        except asyncio.TimeoutError:
            raise WorkerError("no worker is ready", hint="try again in a few seconds") from None

    async def close(self, grace_s: float = 0.0) -> None:
        """End all workers: sessions have ``grace_s`` seconds to end by themselves. Twice is once."""
        watching, self._watching = self._watching, None
        if watching:
            watching.cancel()
            await asyncio.wait([watching])
        self._is_ready.clear()
        host, self._host = self._host, None
        if host:
            await _end_host(host, grace_s)
        for writer in self._writers:
            writer.transport.abort()
        await self._output.close()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def is_ready(self) -> bool:
        """Whether sessions are taken now."""
        return self._is_ready.is_set()

    @property
    def host_pid(self) -> int | None:
        """None while there is no host."""
        return self._host.pid if self._host else None

    async def usage(self) -> PoolUsage:
        """What the processes use now; of those whose host lives."""
        pid = self.host_pid
        return await asyncio.to_thread(_measure, pid) if pid else PoolUsage(0, 0, 0)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while True:
            await self._is_ready.wait()
            try:
                reader, writer = await asyncio.open_unix_connection(self._socket)
            except OSError:  # it died just now, or its queue is full
                await asyncio.sleep(0.02)
                continue
            self._writers.add(writer)
            return reader, writer

    async def _start_host(self) -> WorkersReady:
        """Raises WorkerError."""
        assert self._folder  # noqa: S101 - made by start
        self._num_started += 1
        self._socket = str(self._folder / f"{self._num_started}.sock")
        command = [sys.executable, "-m", "musetalk_cli.serve.worker.host"]
        try:
            self._host = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=self._output.fd,
                start_new_session=True,
                limit=MAX_LINE_BYTES,
                env={**ENVIRONMENT, **os.environ},
            )
        except OSError as error:
            raise WorkerError(f"cannot start the workers: {system_words(error)}") from error
        ready = await self._introduce(self._host)
        self._is_ready.set()
        return ready

    async def _introduce(self, host: Process) -> WorkersReady:
        """Tell the host its settings, and take its answer. Raises WorkerError."""
        assert host.stdin and host.stdout  # noqa: S101 - both are pipes
        settings = replace(self._settings, socket=self._socket)
        host.stdin.write(settings.to_json().encode() + b"\n")
        try:
            line = await asyncio.wait_for(host.stdout.readline(), START_S)
        except asyncio.TimeoutError:
            raise WorkerError(f"the workers were not ready within {START_S:.0f} s") from None
        if not line.endswith(b"\n"):  # it may have been killed inside its line
            raise WorkerError(f"the workers ended before they were ready ({await _describe_end(host)})")
        try:
            values = json.loads(line)
        except ValueError:
            raise WorkerError(f"the workers' first line is not what they hold, but {line[:MAX_SHOWN]!r}") from None
        if "error" in values:
            raise WorkerError(values["error"], hint=values["hint"])
        return WorkersReady.from_json(line)

    async def _watch(self) -> None:
        """Start the host again whenever it has died."""
        least_s, most_s = BACK_OFF_S
        wait_s, started_at = least_s, time.monotonic()
        while True:
            assert self._host  # noqa: S101 - start made one
            await self._host.wait()
            self._is_ready.clear()
            self.num_restarts += 1
            wait_s = least_s if time.monotonic() - started_at >= STEADY_S else wait_s
            self._tell(f"the workers' host ended ({await _describe_end(self._host)}) and is started again")
            await asyncio.sleep(wait_s)
            wait_s, started_at = min(most_s, 2 * wait_s), time.monotonic()
            try:
                await self._start_host()
            except WorkerError as error:
                self._tell(f"the workers' host did not start: {error}")
                await _end_host(self._host, 0)


def _make_folder() -> Path:
    """A folder that only we may enter, at a path that is short enough for a socket."""
    folder = Path(tempfile.mkdtemp(prefix="musetalk-"))
    if len(os.fsencode(folder)) + len("/9999999.sock") <= MAX_SOCKET_PATH:
        return folder
    folder.rmdir()
    return Path(tempfile.mkdtemp(prefix="musetalk-", dir="/tmp"))


async def _end_host(host: Process, grace_s: float) -> None:
    """Let the host end: it does when its stdin ends, once its sessions have ended."""
    if host.stdin:
        host.stdin.close()
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(host.wait(), max(grace_s, 0.0))
    if host.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(host.pid, signal.SIGKILL)  # not reaped yet, so the number is still its own
        await host.wait()


async def _describe_end(host: Process) -> str:
    code = await host.wait()
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"


def _measure(pid: int) -> PoolUsage:
    import psutil

    from musetalk_cli.engine.runtime.usage import find_family

    num_processes = rss_bytes = pss_bytes = 0
    with contextlib.suppress(psutil.Error):
        for process in find_family(pid):
            with contextlib.suppress(psutil.Error):
                memory = process.memory_full_info()
                num_processes += 1
                rss_bytes += memory.rss
                pss_bytes += getattr(memory, "pss", 0)
    return PoolUsage(num_processes, rss_bytes, pss_bytes)
