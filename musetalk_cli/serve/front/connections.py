"""uvicorn's connections, bounded: what does not send its request in time, or does not take what it gets, is cut off.

uvicorn closes a connection by waiting until all was taken; a client that never reads would keep it for ever.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState

from musetalk_cli.serve.protocol import CloseCode

REQUEST_S = 10.0  # a request's headers take longer: closed
CLOSE_S = 1.0  # what was sent last may take this long to leave
NO_PONG = 1011  # the close code
MAX_CONNECTIONS = 800  # of all clients; systems give a process 1024 descriptors, and a session takes two
CONNECTION = "musetalk.connection"  # the key of a scope

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Connection:
    """The client's connection below a request. Its application has it as ``scope["musetalk.connection"]``."""

    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop

    def cut(self, grace_s: float = 0.0) -> None:
        """Close it, after ``grace_s`` seconds whatever has not been taken is dropped."""
        if not grace_s:
            self.transport.abort()
            return
        self.transport.close()
        self.loop.call_later(grace_s, self.transport.abort)

    def _handing_itself_to(self, app: App) -> App:
        async def run(scope: Scope, receive: Receive, send: Send) -> None:
            scope[CONNECTION] = self
            await app(scope, receive, send)

        return run


class HttpConnection(Connection, H11Protocol):
    """HTTP. No request begun within REQUEST_S, or one that is not whole by then: closed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.app = cast("Any", self._handing_itself_to(cast("App", self.app)))
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            return self.cut()
        self._await_request()
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self._stop_waiting()
        super().handle_websocket_upgrade(event)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._stop_waiting()
        self._await_request()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, as all errors are answered."""
        error = {"error": {"code": "bad_request", "message": msg, "hint": ""}}
        headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
        headers += [(b"x-content-type-options", b"nosniff"), (b"content-security-policy", b"default-src 'none'")]
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            answer: list[h11.Event] = [h11.Response(status_code=400, headers=headers, reason=b"Bad Request")]
            for event in [*answer, h11.Data(data=json.dumps(error).encode()), h11.EndOfMessage()]:
                self.transport.write(self.conn.send(event) or b"")
        self.cut(CLOSE_S)

    def _await_request(self) -> None:
        if not self.transport.is_closing():
            self._patience = self.loop.call_later(REQUEST_S, self._give_up)

    def _stop_waiting(self) -> None:
        if self._patience:
            self._patience.cancel()

    def _give_up(self) -> None:
        if cast("Any", self.cycle) is None or self.cycle.response_complete:
            self.cut()


class WebSocketConnection(Connection, WebSocketsSansIOProtocol):
    """A WebSocket. One that does not answer pings is cut, and so is one that does not take its last messages."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.app = cast("Any", self._handing_itself_to(cast("App", self.app)))
        self.failed_with = 0  # the close code with which this side gave it up

    def fail(self, code: int, reason: str) -> None:
        """Close now, behind what has been sent. What the client sends is read and dropped for CLOSE_S, as a connection
        with unread bytes would take the reason with it."""
        if self.transport.is_closing() or self.close_sent:
            return
        self.failed_with = code
        with suppress(InvalidState):
            self.conn.send_close(code, reason)
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self._await_close()

    def _await_close(self) -> None:
        self.stop_keepalive()
        self.close_sent = True
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(CLOSE_S, self.transport.abort)

    def data_received(self, data: bytes) -> None:
        """Take bytes; behind bytes that were no WebSocket's, none."""
        if not (self.close_sent and self.conn.parser_exc is not None):
            super().data_received(data)

    def handle_parser_exception(self) -> None:
        """What came is no WebSocket's, or larger than it may be: the library has said so in its close frame."""
        super().handle_parser_exception()
        self.failed_with = self.conn.close_sent.code if self.conn.close_sent else 0
        self._await_close()

    def keepalive_timeout(self) -> None:
        """The client has not answered a ping: it is lost, or so slow that the ping still waits behind video."""
        if self.writable.is_set():
            self.fail(NO_PONG, "no answer to a ping")
        else:
            self.fail(CloseCode.TOO_SLOW, "video waited too long to be taken")
        self.cut()

    def send_receive_event_to_app(self) -> None:
        """Hand a whole message on; text that is not UTF-8 ends the connection."""
        if self.curr_msg_data_type == "text":
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self.frames = []
                return self.fail(1007, "text must be UTF-8")
        return super().send_receive_event_to_app()

    async def send(self, message: Any) -> None:
        """Send; a refusal is an answer, too, though uvicorn would report a handshake that was never completed."""
        await super().send(message)
        self.handshake_complete = self.handshake_complete or (self.initial_response is not None and self.close_sent)

    async def run_asgi(self) -> None:
        """Run the application; what it sent last has CLOSE_S to leave."""
        await super().run_asgi()
        self.loop.call_later(CLOSE_S, self.transport.abort)
