"""``musetalk serve --ray``: a server that has no session itself, and says which machine of a cluster opens the next."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Callable
from dataclasses import replace

from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from musetalk_cli.app.cluster.ray_cluster import LOCAL, Node, RayCluster
from musetalk_cli.app.cluster.shared_files import config_with_absolute_paths, place_avatar
from musetalk_cli.configuration.origins import blaming, list_origins
from musetalk_cli.configuration.schema import Config
from musetalk_cli.errors import ServeError
from musetalk_cli.serve.cluster.machines import MachinePool
from musetalk_cli.serve.cluster.session_machine import MachineSettings
from musetalk_cli.serve.front.admission import RETRY_AFTER_S, Admission, client_of
from musetalk_cli.serve.front.application import build_application
from musetalk_cli.serve.front.connections import App
from musetalk_cli.serve.front.logs import Log, log_libraries
from musetalk_cli.serve.front.reasons import Refusal
from musetalk_cli.serve.front.security import Guard, is_loopback
from musetalk_cli.serve.front.server import Server, make_guard, open_listener, run_until_signal
from musetalk_cli.serve.front.state import Front, front_of, refuse
from musetalk_cli.serve.offering import choose_offered
from musetalk_cli.serve.wire import WorkerSettings, WorkersReady

PLACE = "/v1/place"


def run_cluster_server(config: Config, address: str, *, needs_no_token: bool = False) -> bool:
    """Serve until a signal comes. Raises MuseTalkError where it cannot start.

    Args:
        config: all settings; those of ``serve`` hold for each machine.
        address: of the Ray cluster; ``local`` is one on this machine, which ends with the server.
        needs_no_token: let everybody in who reaches the addresses.

    Returns:
        Whether Ray has ended. Where it does not answer, a thread waits for it, and so would the end of this process.
    """
    gc.enable()  # see __main__.py
    log = Log(config.serve.log_format)
    log_libraries(log)
    guard = make_guard(config, needs_no_token=needs_no_token)
    is_local = address == LOCAL
    if is_local and not is_loopback(config.serve.host):
        hint = "leave --host out, or give the address of a cluster"
        with blaming(config, "serve.host"):
            raise ServeError("the sessions of --ray local are reached from this machine only", hint=hint)
    if not is_local and guard.token is None and not needs_no_token:
        hint = "openssl rand -hex 32 > token, then --token-file token; or --no-token, to let everybody in"
        raise ServeError("the machines of a cluster are reached from others, so clients need a token", hint=hint)
    is_private = is_local and not (config.serve.token_file or config.serve.allow_origins)
    with contextlib.closing(open_listener(config)) as listener:
        port = listener.getsockname()[1]
        settings = _settings_of_machines(config, guard, port, log, is_local=is_local, is_private=is_private)
        pool = MachinePool(RayCluster(address), settings, log.tell, config.serve.max_sessions_per_client)
        asyncio.run(run_until_signal(ClusterServer(config.serve, guard, log), pool, listener))
    if not pool.has_left:
        log("the cluster does not answer; its machines end by themselves", "warning")
    return pool.has_left


def _settings_of_machines(
    config: Config, guard: Guard, port: int, log: Log, *, is_local: bool, is_private: bool
) -> Callable[[Node], MachineSettings]:
    """What each machine is told, by its node."""
    avatars, found = choose_offered(config, log.tell, is_private=is_private)
    placed = tuple(place_avatar(name, config) for name in avatars)
    workers = WorkerSettings(
        config_with_absolute_paths(config),
        placed,
        found,
        num_spare=config.serve.workers,
        measures=config.serve.max_sessions is None,
        origins=list_origins(),
    ).to_json()
    origins = (*guard.origins, *(f"http://{name}:{port}" for name in ("127.0.0.1", "localhost", config.serve.host)))

    def settings(node: Node) -> MachineSettings:
        host = "127.0.0.1" if is_local else node.address
        return MachineSettings(workers, host, config.serve.port, guard.token, origins, int(node.num_cpus))

    return settings


class ClusterAdmission(Admission):
    """Counts the sessions of all machines. How many one client may have is counted by each machine."""

    def __init__(self, pool: MachinePool, max_per_client: int) -> None:
        super().__init__(0, max_per_client)
        self._pool = pool

    @property
    def max_sessions(self) -> int:
        return self._pool.max_sessions

    @property
    def num_sessions(self) -> int:
        return self._pool.num_sessions

    def refuse(self, address: str) -> Refusal | None:
        """Why nobody gets a session now, None where somebody does."""
        if self.is_draining:
            return super().refuse(address)
        return None if self._pool.has_room() else self.refuse_for_now()

    def refuse_for_now(self) -> Refusal:
        """No machine has room."""
        most = self.max_sessions
        message = f"all {most} sessions of the cluster are taken" if most else "no machine of the cluster is ready"
        return Refusal(503, "full", message, "try again in a moment", RETRY_AFTER_S)


class ClusterServer(Server):
    """The server that clients ask first."""

    pool: MachinePool

    def _make_front(self, pool: MachinePool, offered: WorkersReady) -> Front:  # type: ignore[override]
        self.pool = pool
        self.front = super()._make_front(pool, replace(offered, notes=()))
        self.front.place = PLACE
        return self.front

    def _make_admission(self, offered: WorkersReady) -> Admission:
        return ClusterAdmission(self.pool, self.config.max_sessions_per_client)

    def _make_application(self, front: Front) -> App:
        return build_application(front, Placing(self.pool).routes())

    def _warn(self, front: Front, seconds: float) -> None:
        self.pool.drain()

    def _end_sessions(self, front: Front) -> None:
        self.pool.drain()


class Placing:
    """The paths at which a client learns where its session is opened."""

    def __init__(self, pool: MachinePool) -> None:
        self._pool = pool

    def routes(self) -> list[BaseRoute]:
        return [WebSocketRoute("/v1/session", self._redirect), Route(PLACE, self._place, methods=["POST"])]

    async def _place(self, request: Request) -> Response:
        """POST /v1/place: the WebSocket of one more session."""
        found = await self._find(request)
        if isinstance(found, Refusal):
            front_of(request).metrics.refused.labels(found.code).inc()
            return found.answer()
        return JSONResponse({"session": found})

    async def _redirect(self, socket: WebSocket) -> None:
        """WS /v1/session: for clients that follow a redirection; browsers do not."""
        found = await self._find(socket)
        if isinstance(found, Refusal):
            return await refuse(front_of(socket), found, socket.scope, socket.receive, socket.send)
        await socket.send_denial_response(RedirectResponse(found, 307))
        return None

    async def _find(self, connection: HTTPConnection) -> str | Refusal:
        front = front_of(connection)
        refusal = front.admission.refuse("")
        if refusal:
            return refusal
        client = client_of(connection.client.host) if connection.client else None
        address = await self._pool.place(origin_of(connection), client)
        if address is None:
            assert isinstance(front.admission, ClusterAdmission)  # noqa: S101 - made above
            return front.admission.refuse_for_now()
        front.log("session placed", machine=address)
        return f"ws{address.removeprefix('http')}v1/session"


def origin_of(connection: HTTPConnection) -> str:
    """The origin of the page that asks, or would have, under the name by which it reached this server."""
    scheme = {"ws": "http", "wss": "https"}.get(connection.url.scheme, connection.url.scheme)
    return connection.headers.get("origin") or f"{scheme}://{connection.headers.get('host', '')}".lower()
