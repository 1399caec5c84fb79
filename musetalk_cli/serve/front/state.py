"""What all requests share, and how one is refused."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket

from musetalk_cli.serve.front.admission import Admission
from musetalk_cli.serve.front.connections import Receive, Scope, Send
from musetalk_cli.serve.front.conversation import Conversation, Limits
from musetalk_cli.serve.front.logs import Log
from musetalk_cli.serve.front.metrics import Metrics
from musetalk_cli.serve.front.reasons import Refusal
from musetalk_cli.serve.front.security import Guard
from musetalk_cli.serve.wire import OfferedAvatar, WorkersReady


class Usage(Protocol):
    """Of the workers: see ``WorkerPool.usage``."""

    @property
    def num_processes(self) -> int: ...
    @property
    def rss_bytes(self) -> int: ...
    @property
    def pss_bytes(self) -> int: ...


class Pool(Protocol):
    """What the application needs of a ``WorkerPool``."""

    num_restarts: int

    @property
    def is_ready(self) -> bool: ...
    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]: ...
    async def usage(self) -> Usage: ...


class StartablePool(Pool, Protocol):
    """What the server needs besides."""

    async def start(self) -> WorkersReady: ...
    async def close(self, grace_s: float = 0.0) -> None: ...


@dataclass
class Front:
    """What all requests share. ``place``: the path that says where a session is opened; empty where it is here."""

    pool: Pool
    offered: WorkersReady
    guard: Guard
    admission: Admission
    limits: Limits
    log: Log
    metrics: Metrics = field(default_factory=Metrics)
    conversations: dict[str, Conversation] = field(default_factory=dict)  # by the session's ID
    num_conversations: int = 0  # since the start; the numbers in the log
    place: str = ""

    @property
    def state(self) -> str:
        """One word: ok, draining or workers_restarting."""
        if self.admission.is_draining:
            return "draining"
        return "ok" if self.pool.is_ready else "workers_restarting"

    def avatar(self, name: str) -> OfferedAvatar | None:
        """The avatar of this name, if clients may ask for it."""
        return next((each for each in self.offered.avatars if each.name == name), None)


async def refuse(front: Front, refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with a refusal, before a WebSocket is accepted, too."""
    front.metrics.refused.labels(refusal.code).inc()
    answer = refusal.answer()
    if scope["type"] == "websocket":
        await WebSocket(scope, receive, send).send_denial_response(answer)
    else:
        await answer(scope, receive, send)


def front_of(connection: HTTPConnection) -> Front:
    front: Front = connection.app.state.front
    return front
