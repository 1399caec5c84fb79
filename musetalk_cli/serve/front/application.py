"""The paths of the server, and what stands around each of them: the guard, headers, errors, the log."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from musetalk_cli.errors import MuseTalkError
from musetalk_cli.serve.front import answers
from musetalk_cli.serve.front.connections import CONNECTION, App, Connection, Receive, Scope, Send
from musetalk_cli.serve.front.conversation import Conversation
from musetalk_cli.serve.front.logs import is_part_of_page, shown_path
from musetalk_cli.serve.front.reasons import Ended, Refusal
from musetalk_cli.serve.front.state import Front, front_of, refuse
from musetalk_cli.serve.front.watching import live
from musetalk_cli.serve.protocol import SUBPROTOCOL, CloseCode, Start

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
ANSWER_S = 30.0  # to take an answer, a video apart
QUIET_PATHS = ("/healthz", "/metrics")  # asked for every few seconds
GET = ["GET"]


def build_application(front: Front, sessions: Sequence[BaseRoute] = ()) -> App:
    """The application: its paths, and around them what holds for all. ``sessions``: those at which sessions begin."""
    routes = [
        *(sessions or _own_sessions()),
        Route("/v1/session", answers.session, methods=GET),  # without a WebSocket
        Route("/v1/avatars", answers.avatars, methods=GET),
        Route("/v1/avatars/{name}/thumbnail.jpg", answers.thumbnail, methods=GET),
        Route("/v1/status", answers.status, methods=GET),
        Route("/v1/protocol.json", answers.protocol, methods=GET),
        Route("/healthz", answers.health, methods=GET),
        Route("/metrics", answers.metrics, methods=GET),
        Route("/", answers.page, methods=GET),
        Route("/{file}", answers.page, methods=GET),
        WebSocketRoute("/{path:path}", _no_session),
    ]
    inner = Starlette(routes=routes, exception_handlers={HTTPException: _explain})
    inner.router.redirect_slashes = False
    inner.state.front = front
    return _Outside(inner, front)


def _own_sessions() -> list[BaseRoute]:
    return [
        WebSocketRoute("/v1/session", _session),
        Route("/v1/sessions/{session_id}/live.mp4", live, methods=GET),
    ]


class _Outside:
    """Around every request: who may not come in is refused, the answer gets its headers, and the log a line."""

    def __init__(self, inner: App, front: Front) -> None:
        self._inner, self._front = inner, front

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self._inner(scope, receive, send)
        began, status = time.perf_counter(), 0

        async def send_with_headers(message: Any) -> None:
            nonlocal status
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                status = message["status"]
                given = {name.lower() for name, _ in message.setdefault("headers", [])}
                own = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *(pair for pair in own if pair[0] not in given)]
            await send(message)

        refusal = self._front.guard.refuse(HTTPConnection(scope))
        if refusal:
            await refuse(self._front, refusal, scope, receive, send_with_headers)
        else:
            with _patience(scope):
                await self._inner(scope, receive, send_with_headers)
        if status and (scope["path"] not in QUIET_PATHS or status >= 400):
            milliseconds = round(1000 * (time.perf_counter() - began), 1)
            client, path = (scope.get("client") or ("",))[0], shown_path(scope["path"])
            method = scope.get("method", "WEBSOCKET")
            level = "debug" if status < 400 and is_part_of_page(scope["path"]) else "info"
            self._front.log("request", level, method=method, path=path, status=status, ms=milliseconds, client=client)
        return None


@contextmanager
def _patience(scope: Scope) -> Iterator[None]:
    """An answer is taken in ANSWER_S, or its connection is cut. A session and its video have rules of their own."""
    is_endless = scope["type"] == "websocket" or scope["path"].endswith("/live.mp4")
    connection: Connection = scope[CONNECTION]
    cutting = None if is_endless else connection.loop.call_later(ANSWER_S, connection.cut)
    try:
        yield
    finally:
        if cutting:
            cutting.cancel()


async def _explain(request: Request, error: Exception) -> Response:
    """An HTTP error as JSON, in the form of all others."""
    assert isinstance(error, HTTPException)  # noqa: S101 - all that is registered for it
    headers = dict(error.headers or {})
    methods = " and ".join(sorted(headers.get("Allow", "GET, HEAD").split(", ")))
    said: Mapping[int, tuple[str, str]] = {
        404: ("not_found", "there is nothing here"),
        405: ("method_not_allowed", f"this path takes {methods} only"),
    }
    code, message = said.get(error.status_code, ("failed", error.detail))
    return JSONResponse({"error": {"code": code, "message": message, "hint": ""}}, error.status_code, headers)


async def _session(socket: WebSocket) -> None:
    front, address = front_of(socket), socket.client.host if socket.client else ""
    refusal = front.admission.refuse(address) or _refuse_subprotocols(socket)
    if refusal:
        return await refuse(front, refusal, socket.scope, socket.receive, socket.send)
    front.num_conversations += 1
    number, began = front.num_conversations, time.monotonic()
    with front.admission.seat(address):
        conversation = Conversation(socket, front.limits, front.metrics)
        front.log("session opened", number=number, client=address)
        ended = await _converse(front, socket, conversation)
        seconds = round(time.monotonic() - began, 1)
        said = ended.message or None
        front.log("session closed", number=number, reason=ended.reason, seconds=seconds, message=said)
        front.metrics.closed.labels(ended.reason).inc()
    return None


async def _no_session(socket: WebSocket) -> None:
    refusal = Refusal(404, "not_found", "there are no sessions here", hint="they begin at /v1/session")
    await refuse(front_of(socket), refusal, socket.scope, socket.receive, socket.send)


async def _converse(front: Front, socket: WebSocket, conversation: Conversation) -> Ended:
    """Have a conversation from its beginning to its end, which is returned."""
    writer: asyncio.StreamWriter | None = None
    front.conversations[conversation.session_id] = conversation
    try:
        await socket.accept(SUBPROTOCOL if SUBPROTOCOL in socket.scope["subprotocols"] else None)
        start = await conversation.read_start()
        _check_start(front, start)
        reader, writer = await front.pool.connect()
        await conversation.run(start, reader, writer)
        raise AssertionError("a conversation ends by raising")
    except Ended as ended:
        reason = ended
    except MuseTalkError as error:
        reason = Ended(CloseCode.SESSION_FAILED, str(error), error.hint)
    except asyncio.CancelledError:
        reason = Ended(CloseCode.GOING_AWAY, "the server shuts down")
    except Exception as error:
        logging.getLogger(__name__).error("a bug ended a session", exc_info=error)
        reason = Ended(CloseCode.SESSION_FAILED, "an internal error", "the server's log has it")
    finally:
        del front.conversations[conversation.session_id]
        if writer:
            writer.transport.abort()
    await conversation.say_goodbye(reason)
    return reason


def _check_start(front: Front, start: Start) -> None:
    """Raise Ended for what the server does not offer. It admits sessions of its own size and frame rate: a larger one
    would take from the others."""
    offered = front.offered
    avatar = offered.avatars[0] if start.avatar is None else front.avatar(start.avatar)
    if avatar is None:
        raise Ended(CloseCode.NOT_FOUND, "this server offers no avatar of that name", "GET /v1/avatars lists them")
    if start.size is not None and start.size > avatar.height:
        raise Ended(CloseCode.BAD_MESSAGE, f"size: at most {avatar.height} here", "leave 'size' out")
    if start.fps is not None and start.fps > offered.fps:
        raise Ended(CloseCode.BAD_MESSAGE, f"fps: at most {offered.fps:g} here", "leave 'fps' out")
    if start.model not in (None, "auto", offered.model):
        raise Ended(CloseCode.NOT_FOUND, f"this server runs the model {offered.model} only", "leave 'model' out")


def _refuse_subprotocols(socket: WebSocket) -> Refusal | None:
    offered = [each for each in socket.scope["subprotocols"] if not each.startswith("musetalk.token.")]
    if SUBPROTOCOL in offered or not socket.scope["subprotocols"]:
        return None
    return Refusal(
        400, "bad_subprotocol", f"offer the subprotocol {SUBPROTOCOL}, or none and send the token as a header"
    )
