"""The server from its start to its end: workers, socket, readiness, signals, drain."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import uvicorn

from musetalk_cli.configuration.origins import blaming, list_origins
from musetalk_cli.configuration.schema import Config, ServeConfig
from musetalk_cli.errors import ConfigError, ServeError, system_words
from musetalk_cli.serve.front.admission import Admission
from musetalk_cli.serve.front.application import build_application
from musetalk_cli.serve.front.connections import App, HttpConnection, WebSocketConnection
from musetalk_cli.serve.front.conversation import Limits
from musetalk_cli.serve.front.logs import Log, log_libraries
from musetalk_cli.serve.front.reasons import Ended
from musetalk_cli.serve.front.security import Guard, check_origins, is_loopback, read_token
from musetalk_cli.serve.front.state import Front, StartablePool
from musetalk_cli.serve.offering import choose_offered
from musetalk_cli.serve.protocol import MAX_MESSAGE_BYTES, CloseCode
from musetalk_cli.serve.wire import WorkerSettings, WorkersReady
from musetalk_cli.serve.workers import WorkerPool
from musetalk_cli.system.folders import expand

PING_S = 1.0  # a silent client is asked after so long
PONG_S = 3.0  # and is gone when it has not answered after so long
MAX_HEADER_BYTES = 16 << 10
SEND_BUFFER_BYTES = 256 << 10  # in the kernel, a second or two of video; what is behind it is known to wait
GOODBYE_S = 3.0  # for sessions that were ended to tell their clients
DEFAULT_MAX_SESSIONS = 4  # where nothing was measured
SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name))


def check_system() -> None:
    """Raise ServeError where this system cannot have a server."""
    if sys.platform == "win32":
        raise ServeError("musetalk serve does not run on Windows", hint="run it in WSL 2 or in a container")


def run_server(config: Config, *, needs_no_token: bool = False) -> None:
    """Serve until a signal comes. Raises MuseTalkError where it cannot start."""
    gc.enable()  # see __main__.py
    log = Log(config.serve.log_format)
    log_libraries(log)
    guard = make_guard(config, needs_no_token=needs_no_token)
    is_private = is_loopback(config.serve.host) and not (config.serve.token_file or config.serve.allow_origins)
    avatars, found = choose_offered(config, log.tell, is_private=is_private)
    with contextlib.closing(open_listener(config)) as listener:
        settings = WorkerSettings(
            config,
            avatars,
            found,
            num_spare=config.serve.workers,
            measures=config.serve.max_sessions is None,
            origins=list_origins(),
        )
        asyncio.run(run_until_signal(Server(config.serve, guard, log), WorkerPool(settings, log.tell), listener))


async def run_until_signal(server: Server, pool: StartablePool, listener: socket.socket) -> None:
    """Run a server that this process's signals end. Raises as ``Server.run``."""
    signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
    for number in SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, signals.put_nowait, number)
    await server.run(pool, listener, signals)


def make_guard(config: Config, *, needs_no_token: bool) -> Guard:
    """Who may come in, by the settings. Raises ConfigError."""
    serve = config.serve
    with blaming(config, "serve.token_file"):
        if needs_no_token and serve.token_file:
            raise ConfigError("--no-token and a token file exclude each other", hint="leave one of them out")
        token = read_token(expand(serve.token_file)) if serve.token_file else None
    if token is None and not needs_no_token and not is_loopback(serve.host):
        hint = "openssl rand -hex 32 > token, then --token-file token; or --no-token, to let everybody in"
        with blaming(config, "serve.host"):
            raise ServeError(f"{serve.host} is reached from other machines, so clients need a token", hint=hint)
    with blaming(config, "serve.allow_origins"):
        return Guard(token, check_origins(serve.allow_origins))


def open_listener(config: Config) -> socket.socket:
    """A socket at the address of the settings. Raises ServeError."""
    with blaming(config, "serve.port", "serve.host"):
        return bind(config.serve.host, config.serve.port)


def bind(host: str, port: int) -> socket.socket:
    """A socket that takes connections. Raises ServeError."""
    try:
        # The protocol is named, too: asyncio sets TCP_NODELAY where it is, and small messages wait for nothing then.
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ServeError(f"cannot bind {host}: {system_words(error)}", hint="choose another --host") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        hint = "another program has it; choose another --port" if error.errno == errno.EADDRINUSE else ""
        raise ServeError(f"cannot bind {host}, port {port}: {system_words(error)}", hint=hint) from None
    listener.setblocking(False)
    return listener


class _Uvicorn(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # signals are ours


@dataclass
class Server:
    """One run. The first signal drains, a second one ends it at once.

    ``share``: how much of this machine its sessions may use, where their number was measured. ``on_ready`` is called
    when sessions are taken, with the server's address.
    """

    config: ServeConfig
    guard: Guard
    log: Log
    share: float = 1.0
    on_ready: Callable[[Front, str], None] = lambda front, address: None
    front: Front | None = field(default=None, init=False)

    async def run(self, pool: StartablePool, listener: socket.socket, signals: asyncio.Queue[signal.Signals]) -> None:
        """Serve until a signal comes; the workers are ended then. Raises WorkerError where they cannot start."""
        starting = asyncio.ensure_future(pool.start())
        waiting = asyncio.ensure_future(signals.get())
        try:
            await asyncio.wait((starting, waiting), return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                await self._serve(self._make_front(pool, starting.result()), listener, waiting, signals)
        finally:
            for task in (starting, waiting):
                task.cancel()
            await asyncio.wait((starting, waiting))
            await pool.close(0)

    def _make_front(self, pool: StartablePool, offered: WorkersReady) -> Front:
        for note in offered.notes:
            self.log(note)
        admission = self._make_admission(offered)
        self.front = Front(pool, offered, self.guard, admission, Limits(self.config.idle_s), self.log)
        return self.front

    def _make_admission(self, offered: WorkersReady) -> Admission:
        measured = max(1, int(self.share * (offered.max_sessions or DEFAULT_MAX_SESSIONS)))
        return Admission(self.config.max_sessions or measured, self.config.max_sessions_per_client)

    async def _serve(
        self,
        front: Front,
        listener: socket.socket,
        waiting: asyncio.Future[signal.Signals],
        signals: asyncio.Queue[signal.Signals],
    ) -> None:
        server = _Uvicorn(_uvicorn_settings(self._make_application(front)))
        serving = asyncio.ensure_future(server.serve([listener]))
        self._say_ready(front, listener)
        await asyncio.wait((serving, waiting), return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            await self._drain(front, waiting.result(), signals)
        server.should_exit = True
        await serving
        self.log("ended")

    def _say_ready(self, front: Front, listener: socket.socket) -> None:
        host, port = listener.getsockname()[:2]
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
        names = ", ".join(each.name for each in front.offered.avatars)
        token = "needed" if front.guard.token else "none"
        self.log(
            "ready",
            address=address,
            avatars=names,
            model=front.offered.model,
            max_sessions=front.admission.max_sessions,
            token=token,
        )
        self.on_ready(front, address)

    def _make_application(self, front: Front) -> App:
        return build_application(front)

    async def _drain(self, front: Front, number: signal.Signals, signals: asyncio.Queue[signal.Signals]) -> None:
        """Let sessions go on for ``drain_s``, or until a second signal comes; then end them."""
        seconds, num_sessions = self.config.drain_s, front.admission.num_sessions
        self.log("draining", signal=number.name, sessions=num_sessions, seconds=seconds, again="ends them at once")
        front.admission.is_draining = True
        self._warn(front, seconds)
        second = asyncio.ensure_future(signals.get())
        empty = asyncio.ensure_future(_wait_until_empty(front))
        await asyncio.wait((second, empty), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        self._end_sessions(front)
        await asyncio.wait((empty,), timeout=GOODBYE_S)
        second.cancel()
        empty.cancel()

    def _warn(self, front: Front, seconds: float) -> None:
        for conversation in list(front.conversations.values()):
            conversation.drain(seconds)

    def _end_sessions(self, front: Front) -> None:
        for conversation in list(front.conversations.values()):
            conversation.end(Ended(CloseCode.GOING_AWAY, "the server shuts down", "connect again in a moment"))


async def _wait_until_empty(front: Front) -> None:
    while front.admission.num_sessions:
        await asyncio.sleep(0.05)


def _uvicorn_settings(application: App) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        http=HttpConnection,
        ws=WebSocketConnection,
        ws_max_size=MAX_MESSAGE_BYTES,
        ws_ping_interval=PING_S,
        ws_ping_timeout=PONG_S,
        ws_per_message_deflate=False,  # video does not shrink
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        lifespan="off",
        log_config=None,
        access_log=False,
        forwarded_allow_ips=["127.0.0.1", "::1", "::ffff:127.0.0.1"],  # the last at a socket of IPv6 and IPv4
        server_header=False,
        timeout_graceful_shutdown=2,
    )
