"""The server of one machine of a cluster, as an actor of Ray: it has sessions, and clients come to it directly."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import signal
import socket
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from musetalk_cli import __version__
from musetalk_cli.app.model_choice import count_cores
from musetalk_cli.errors import MuseTalkError, ServeError
from musetalk_cli.serve.cluster.origins import MAX_ORIGINS
from musetalk_cli.serve.front.logs import Log
from musetalk_cli.serve.front.security import Guard
from musetalk_cli.serve.front.server import Server, bind
from musetalk_cli.serve.front.state import Front
from musetalk_cli.serve.wire import WorkerSettings
from musetalk_cli.serve.workers import PoolUsage, WorkerPool

USAGE_S = 5.0


@dataclass(frozen=True)
class MachineSettings:
    """What a machine needs to know.

    ``workers``: JSON of ``WorkerSettings``. ``host``: the address to bind; ``port``: the port, if it is free.
    ``token``: as for ``Guard``. ``num_cpus``: logical cores that its sessions may use.
    """

    workers: str
    host: str
    port: int
    token: str | None = field(repr=False)
    origins: tuple[str, ...]
    num_cpus: int


@dataclass(frozen=True)
class MachineReady:
    """A machine takes sessions at ``address``, ``http://host:port/``; or ``error`` and ``hint`` say why it does not.

    ``offered``: JSON of ``WorkersReady``.
    """

    version: str = __version__
    machine: str = ""
    address: str = ""
    max_sessions: int = 0
    offered: str = ""
    error: str = ""
    hint: str = ""


@dataclass(frozen=True)
class MachineState:
    """Sessions that live, sessions since the start, whether it takes more, and lines for the log."""

    num_sessions: int
    num_opened: int
    is_ready: bool
    notices: tuple[str, ...] = ()


class SessionMachine:
    """Runs a server on a thread of its own. Ray calls the methods, each on another thread."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        os.environ.update(environment)
        self._is_open = threading.Event()
        self._answer = MachineReady(machine=platform.node())
        self._server: Server | None = None
        self._pool: WorkerPool | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._signals: asyncio.Queue[signal.Signals] | None = None
        self._lock = threading.Lock()
        self._notices: list[str] = []
        self._fixed_origins = frozenset[str]()
        self._origins = deque[str](maxlen=MAX_ORIGINS)
        self._thread: threading.Thread | None = None

    def open(self, settings: MachineSettings) -> MachineReady:
        """Start the server, and wait until it takes sessions or cannot."""
        self._thread = threading.Thread(target=self._run, args=(settings,), name="musetalk-server", daemon=True)
        self._thread.start()
        self._is_open.wait()
        return self._answer

    def state(self) -> MachineState:
        """What it has now."""
        with self._lock:
            notices, self._notices = tuple(self._notices), []
        front = self._server.front if self._server else None
        if front is None:
            return MachineState(0, 0, is_ready=False, notices=notices)
        return MachineState(front.admission.num_sessions, front.num_conversations, front.state == "ok", notices)

    def usage(self) -> PoolUsage:
        """What the processes of its sessions use."""
        if not self._pool or not self._loop or self._loop.is_closed():
            return PoolUsage(0, 0, 0)
        return asyncio.run_coroutine_threadsafe(self._pool.usage(), self._loop).result(USAGE_S)

    def allow_origin(self, origin: str) -> None:
        """Let pages of this origin open sessions from now on."""
        front = self._server.front if self._server else None
        with self._lock:
            self._origins.append(origin)
            if front:
                front.guard = replace(front.guard, origins=self._fixed_origins.union(self._origins))

    def drain(self) -> None:
        """As a signal does: the first has sessions end within the time of the settings, another one ends them."""
        if self._loop and self._signals and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._signals.put_nowait, signal.SIGTERM)

    def wait(self, seconds: float) -> bool:
        """Whether the server has ended, within so many seconds."""
        if self._thread:
            self._thread.join(seconds)
        return self._thread is None or not self._thread.is_alive()

    def _run(self, settings: MachineSettings) -> None:
        try:
            asyncio.run(self._serve(settings))
        except MuseTalkError as error:
            self._answer = replace(self._answer, error=str(error), hint=error.hint)
        except Exception as error:
            self._answer = replace(self._answer, error=f"{type(error).__name__}: {error}")
        finally:
            self._is_open.set()

    async def _serve(self, settings: MachineSettings) -> None:
        self._loop, self._signals = asyncio.get_running_loop(), asyncio.Queue()
        workers = WorkerSettings.from_json(settings.workers)
        serve = workers.config.serve
        log = Log(serve.log_format)
        share = min(1.0, settings.num_cpus / count_cores())
        self._fixed_origins = frozenset(settings.origins)
        guard = Guard(settings.token, self._fixed_origins)
        self._pool = WorkerPool(workers, self._note)
        self._server = Server(serve, guard, log, share=share, on_ready=self._open_doors)
        with contextlib.closing(_bind(settings.host, settings.port)) as listener:
            await self._server.run(self._pool, listener, self._signals)

    def _open_doors(self, front: Front, address: str) -> None:
        self._answer = replace(
            self._answer,
            address=address,
            max_sessions=front.admission.max_sessions,
            offered=front.offered.to_json(),
        )
        self._is_open.set()

    def _note(self, line: str) -> None:
        with self._lock:
            self._notices.append(line)


def _bind(host: str, port: int) -> socket.socket:
    """At the port of all machines, so that firewalls can let it through, or at a free one where that is taken."""
    try:
        return bind(host, port)
    except ServeError:
        return bind(host, 0)
