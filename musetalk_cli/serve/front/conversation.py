"""One WebSocket and one worker: messages and PCM go in, fragments and events come out."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from starlette.websockets import WebSocket

from musetalk_cli.serve.front.connections import CONNECTION, WebSocketConnection
from musetalk_cli.serve.front.metrics import Metrics
from musetalk_cli.serve.front.reasons import ENDS_OF_CONNECTIONS, Ended
from musetalk_cli.serve.front.viewers import Channel
from musetalk_cli.serve.protocol import (
    BadMessageError,
    Clear,
    CloseCode,
    Draining,
    EndUtterance,
    Error,
    Finish,
    Late,
    Ping,
    Pong,
    Ready,
    Start,
    Stats,
    read_client_message,
)
from musetalk_cli.serve.wire import Kind, pack_message, read_message

SAMPLE_BYTES = {"s16le": 2, "f32le": 4}
START_S = 10.0  # to the first message
OPEN_S = 20.0  # to a worker's answer
BEHIND_S = 5.0  # what waits to be sent for longer: the client is too slow
ANSWER_S = 0.5  # to send the reason of an end
FINISH_S = 5.0  # to send what was said to its end
KINDS: dict[type, Kind] = {EndUtterance: Kind.END_UTTERANCE, Clear: Kind.CLEAR, Finish: Kind.FINISH}
LATE = b'{"type":"late"'
VIDEO = (Kind.INIT_SEGMENT, Kind.KEY_FRAGMENT, Kind.FRAGMENT)


@dataclass(frozen=True)
class Limits:
    """``idle_s``: seconds without any message from the client, after which it is sent away."""

    idle_s: float


class Conversation:
    """A session as its client has it. ``session_id`` is what its viewers must know, ``channel`` what they watch."""

    def __init__(self, socket: WebSocket, limits: Limits, metrics: Metrics) -> None:
        self.session_id = secrets.token_urlsafe(16)
        self.channel = Channel(lambda: self._tell_worker(Kind.KEYFRAME))
        self._socket, self._limits, self._metrics = socket, limits, metrics
        self._connection: WebSocketConnection = socket.scope[CONNECTION]
        self._loop = asyncio.get_running_loop()
        self._ending: asyncio.Future[None] = self._loop.create_future()
        self._outbox: deque[tuple[float, str | bytes]] = deque()
        self._has_more = asyncio.Event()
        self._sending_since: float | None = None
        self._heard_at = self._loop.time()
        self._num_fragments = 0
        self._fps = 25.0
        self._sample_bytes = 2
        self._is_finishing = False
        self._worker: asyncio.StreamWriter | None = None

    # From outside

    def drain(self, seconds: float) -> None:
        """Tell the client that the server shuts down within ``seconds``."""
        self._queue(Draining(seconds=seconds))

    def end(self, ended: Ended) -> None:
        """End it now, for this reason. The first one stands."""
        if not self._ending.done():
            self._ending.set_exception(ended)

    async def read_start(self) -> Start:
        """The client's first message. Raises Ended."""
        receiving = self._loop.create_task(self._receive())
        await asyncio.wait((receiving, self._ending), timeout=START_S, return_when=asyncio.FIRST_COMPLETED)
        if self._ending.done():
            receiving.cancel()
            self._ending.result()
        if not receiving.done():
            receiving.cancel()
            raise Ended(CloseCode.TIMED_OUT, f"no 'start' within {START_S:g} s")
        message = receiving.result()
        if not isinstance(message, Start):
            raise Ended(CloseCode.OUT_OF_ORDER, "the first message must be 'start'")
        return message

    async def run(self, start: Start, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Go on until it ends. Always raises Ended."""
        self._worker = writer
        self._sample_bytes = SAMPLE_BYTES[start.format] * start.channels
        writer.write(pack_message(Kind.START, start.model_dump_json().encode()))
        parts = (self._read_client(writer), self._read_worker(reader), self._send_outbox(), self._watch())
        tasks: list[asyncio.Future[None]] = [self._ending, *(self._loop.create_task(part) for part in parts)]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            for task in tasks[1:]:
                task.cancel()
            await asyncio.gather(*tasks[1:], return_exceptions=True)
            self.channel.close()

    async def say_goodbye(self, ended: Ended) -> None:
        """Send the reason of an end and close. A client that takes nothing is cut off."""
        if not self._ending.cancel():
            self._ending.exception()  # asked for, so that nothing complains that nobody did
        if ended.code is None:
            return
        with suppress(Exception):  # it may have gone meanwhile
            patience_s = FINISH_S if ended.code is CloseCode.FINISHED else ANSWER_S
            await asyncio.wait_for(self._send_rest(ended), patience_s)
        self._connection.fail(ended.code, ended.message.encode()[:120].decode("utf-8", "ignore"))

    async def _send_rest(self, ended: Ended) -> None:
        if ended.code is CloseCode.FINISHED:
            while self._outbox:
                await self._send(self._outbox.popleft()[1])
        else:
            error = Error(code=ended.reason, message=ended.message, hint=ended.hint, fatal=True)
            await self._send(error.model_dump_json())

    # From the client

    async def _receive(self) -> Any:
        """The next message, or PCM as bytes. Raises Ended."""
        event = await self._socket.receive()
        if event["type"] == "websocket.disconnect":
            raise Ended(None, error=ENDS_OF_CONNECTIONS.get(self._connection.failed_with))
        self._heard_at = self._loop.time()
        data: bytes | None = event.get("bytes")
        if data is not None:
            return data
        try:
            return read_client_message(event["text"])
        except BadMessageError as error:
            hint = "/v1/protocol.json has every message"
            raise Ended(CloseCode.BAD_MESSAGE, str(error), hint) from None

    async def _read_client(self, worker: asyncio.StreamWriter) -> None:
        while True:
            message = await self._receive()
            if isinstance(message, Ping):
                self._queue(Pong(id=message.id, time_s=round(self._num_fragments / self._fps, 3)))
                continue
            if isinstance(message, Start):
                raise Ended(CloseCode.OUT_OF_ORDER, "a second 'start'", "open another connection for another session")
            if self._is_finishing:
                raise Ended(CloseCode.OUT_OF_ORDER, "only 'ping' may follow 'finish'")
            self._is_finishing = isinstance(message, Finish)
            if isinstance(message, bytes):
                self._push(message)
            else:
                self._tell_worker(KINDS[type(message)])
            with suppress(OSError):  # it has ended, which ``_read_worker`` tells
                await worker.drain()

    def _push(self, pcm: bytes) -> None:
        if len(pcm) % self._sample_bytes:
            message = f"{len(pcm)} bytes of PCM are no whole number of samples of {self._sample_bytes} bytes"
            raise Ended(CloseCode.BAD_MESSAGE, message)
        self._metrics.received.inc(len(pcm))
        if pcm:
            self._tell_worker(Kind.AUDIO, pcm)

    def _tell_worker(self, kind: Kind, payload: bytes = b"") -> None:
        if self._worker and not self._worker.is_closing():
            self._worker.write(pack_message(kind, payload))

    # From the worker

    async def _read_worker(self, reader: asyncio.StreamReader) -> None:
        try:
            message = await asyncio.wait_for(read_message(reader), OPEN_S)
            while message is not None:
                self._take(*message)
                message = await read_message(reader)
        except asyncio.TimeoutError:
            raise Ended(CloseCode.SESSION_FAILED, "the session did not open in time") from None
        except (OSError, ValueError):
            pass  # what was left of it cannot be read
        hint = "open another one; the server goes on"
        raise Ended(CloseCode.SESSION_FAILED, "the session's process ended unexpectedly", hint)

    def _take(self, kind: Kind, payload: bytes) -> None:
        if kind in VIDEO:
            self._take_video(kind, payload)
        elif kind is Kind.STATS:
            self._take_stats(payload)
        elif kind is Kind.MESSAGE:
            self._take_message(payload)
        elif kind is Kind.READY:
            self._take_ready(payload)
        elif kind is Kind.ERROR:
            error = Error.model_validate_json(payload)
            code = CloseCode.__members__.get(error.code.upper(), CloseCode.SESSION_FAILED)
            raise Ended(code, error.message, error.hint, error.code)
        elif kind is Kind.FINISHED:
            raise Ended(CloseCode.FINISHED, "finished")

    def _take_ready(self, payload: bytes) -> None:
        names = {"session": self.session_id, "viewers": f"/v1/sessions/{self.session_id}/live.mp4"}
        ready = Ready.model_validate_json(payload).model_copy(update=names)
        self._fps = ready.fps
        self._metrics.opened.inc()
        self._queue(ready)

    def _take_video(self, kind: Kind, payload: bytes) -> None:
        self._metrics.sent.inc(len(payload))
        self._queue(payload)
        if kind is Kind.INIT_SEGMENT:
            self.channel.init_segment = payload
            return
        self._num_fragments += 1
        self._metrics.frames.inc()
        self.channel.publish(payload, is_keyframe=kind is Kind.KEY_FRAGMENT)

    def _take_stats(self, payload: bytes) -> None:
        latency_ms = Stats.model_validate_json(payload).latency_ms
        if latency_ms is not None:
            self._metrics.latency.observe(latency_ms / 1000)
        self._queue(payload.decode())

    def _take_message(self, payload: bytes) -> None:
        if payload.startswith(LATE):
            self._metrics.held.inc(Late.model_validate_json(payload).num_held)
        self._queue(payload.decode())

    # To the client

    def _queue(self, message: Any) -> None:
        content = message if isinstance(message, (str, bytes)) else message.model_dump_json()
        self._outbox.append((self._loop.time(), content))
        self._has_more.set()

    async def _send_outbox(self) -> None:
        while True:
            while self._outbox:
                self._sending_since, content = self._outbox[0]
                await self._send(content)
                self._outbox.popleft()
                self._sending_since = None
            self._has_more.clear()
            await self._has_more.wait()

    async def _send(self, content: str | bytes) -> None:
        key = "text" if isinstance(content, str) else "bytes"
        try:
            await self._socket.send({"type": "websocket.send", key: content})
        except Exception:
            raise Ended(None) from None

    async def _watch(self) -> None:
        """Look once a second whether the client is there, and takes what it is sent."""
        while True:
            await asyncio.sleep(1)
            now = self._loop.time()
            if self._sending_since is not None and now - self._sending_since > BEHIND_S:
                message = f"fragments waited for more than {BEHIND_S:g} s to be taken"
                raise Ended(CloseCode.TOO_SLOW, message, "use a smaller size, or a faster connection")
            if now - self._heard_at > self._limits.idle_s:
                message = f"no message for {self._limits.idle_s:g} s"
                raise Ended(CloseCode.TIMED_OUT, message, "send 'ping' to stay")
