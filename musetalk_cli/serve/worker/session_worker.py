"""One connection, one session: what arrives is pushed, what comes out is sent, and the end of either ends both."""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from musetalk_cli.engine.outputs.fragments import Fragment
from musetalk_cli.engine.types.session import Late, UtteranceFinished, UtteranceStarted
from musetalk_cli.errors import ConfigError, MuseTalkError, QueueFullError, SessionError
from musetalk_cli.serve import protocol
from musetalk_cli.serve.protocol import MAX_MESSAGE_BYTES, CloseCode
from musetalk_cli.serve.wire import HEADER, Kind, pack_message
from musetalk_cli.serve.worker.offer import Offer, OpenedSession, RefusedError
from musetalk_cli.serve.worker.rest import Rest

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydantic import BaseModel

    from musetalk_cli.engine.session_output import Item

SEND_BUFFER_BYTES = 128 << 10  # of fragments that were sent and not read; twice that, some 2 s, on Linux
SEND_S = 20.0  # a server that reads nothing for so long is stuck
START_S = 15.0  # the server connects when START is there
LINGER_S = 2.0  # behind the last message, until the server closes
STATS_S = 1.0
TELL_FULL_S = 1.0  # dropped voice is told at most so often
FLOOD_FACTOR = 10  # so many queues' worth dropped in a row ends the connection
DTYPES = {"s16le": "<i2", "f32le": "<f4"}


def serve_connection(connection: socket.socket, offer: Offer, on_rest: Callable[[], None] = lambda: None) -> None:
    """Run one session to its end, however it comes; the connection is closed then. Raises nothing.

    ``on_rest`` is called now and again while nobody speaks, as Rest says.
    """
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(SEND_S), 0))
    with connection:
        try:
            start = _read_start(connection)
            if start is not None:
                SessionWorker(connection, start, offer.open_session(start), on_rest).run()
        except OSError:
            pass  # the server is gone, and the client with it
        except Exception as error:
            with contextlib.suppress(OSError):
                connection.sendall(_pack(Kind.ERROR, _explain(error)))
                connection.shutdown(socket.SHUT_WR)
                _drain(connection)


class SessionWorker:
    """The session of one connection. ``run`` receives in the calling thread; a thread of its own sends.

    That one takes from the session no faster than the server reads, so that nothing piles up here. Answers wait for
    the next fragment: the one that may be under way when the voice is interrupted goes before ``cleared``.
    """

    def __init__(
        self, connection: socket.socket, start: protocol.Start, opened: OpenedSession, on_rest: Callable[[], None]
    ) -> None:
        self._connection = connection
        self._start = start
        self._opened = opened
        self._session = opened.session
        self._answers: deque[BaseModel] = deque()
        self._fatal: BaseException | None = None
        self._stats = StatsLog(opened)
        self._dropped_s = 0.0
        self._untold_s = 0.0
        self._told_at = 0.0
        self._rest = Rest(on_rest)
        self._has_received = threading.Event()  # the last message
        self._sending = threading.Thread(target=self._send_all, name="musetalk-sending", daemon=True)

    def run(self) -> None:
        """Returns when the connection has ended and the session is closed. Raises OSError."""
        try:
            self._send(Kind.READY, self._opened.ready.model_dump_json().encode())
            self._send(Kind.INIT_SEGMENT, self._opened.init_segment.data)
            self._sending.start()
            self._receive_all()
        finally:
            self._has_received.set()
            with contextlib.suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)  # wakes the other thread where it sends
            self._session.close()
            if self._sending.ident is not None:
                self._sending.join()

    def _receive_all(self) -> None:
        """Do what the messages say, until the connection ends or one is wrong."""
        try:
            while message := _receive(self._connection):
                self._do(*message)
        except (RefusedError, MuseTalkError) as error:
            self._fatal = error
            self._session.close()  # the other thread tells why
            _drain(self._connection)

    def _do(self, kind: Kind, payload: bytes) -> None:
        if kind is Kind.AUDIO:
            self._push(payload)
        elif kind is Kind.END_UTTERANCE:
            self._session.end_utterance()
        elif kind is Kind.CLEAR:
            done = self._session.clear()
            self._answers.append(protocol.Cleared(utterance=done.utterance, position_s=done.position_s))
        elif kind is Kind.FINISH:
            self._session.finish()
        elif kind is Kind.KEYFRAME:
            self._session.request_keyframe()
        else:
            raise RefusedError(CloseCode.OUT_OF_ORDER, f"{kind.name.lower()} makes no sense here")

    def _push(self, payload: bytes) -> None:
        """Add voice; what does not fit is dropped whole. Raises RefusedError."""
        samples = _decode(payload, self._start)
        if not len(samples):
            return
        try:
            self._session.push(samples, self._start.rate_hz, waits=False)
            self._dropped_s = 0.0
        except QueueFullError as error:
            self._drop(len(samples) / self._start.rate_hz, error)
        except SessionError as error:
            raise RefusedError(CloseCode.OUT_OF_ORDER, str(error), error.hint) from None

    def _drop(self, duration_s: float, error: QueueFullError) -> None:
        """Tell that voice was dropped. Raises RefusedError where it does not stop."""
        self._dropped_s += duration_s
        self._untold_s += duration_s
        if self._dropped_s > FLOOD_FACTOR * self._opened.max_queued_s:
            raise RefusedError(CloseCode.FLOODED, f"{self._dropped_s:.0f} s of voice had to be dropped", error.hint)
        if time.monotonic() - self._told_at >= TELL_FULL_S:
            message = f"{self._untold_s:.1f} s of voice were dropped: {error}"
            hint = "push no faster than it is spoken"
            self._answers.append(protocol.Error(code="queue_full", message=message, hint=hint, fatal=False))
            self._told_at, self._untold_s = time.monotonic(), 0.0

    def _send_all(self) -> None:
        """Send what the session gives, and at its end why it has ended."""
        try:
            for item in self._session:
                self._send_item(item)
            self._send_answers()
            last = _pack(Kind.ERROR, _explain(self._fatal)) if self._fatal else pack_message(Kind.FINISHED)
        except OSError:
            self._shut(socket.SHUT_RDWR)  # stuck or gone: the other thread ends, too
            return
        except Exception as error:
            last = _pack(Kind.ERROR, _explain(self._fatal or error))
        with contextlib.suppress(OSError):
            self._connection.sendall(last)
        self._shut(socket.SHUT_WR)
        self._has_received.wait(LINGER_S)
        self._shut(socket.SHUT_RDWR)

    def _send_item(self, item: Item) -> None:
        if isinstance(item, Fragment):
            self._send(Kind.KEY_FRAGMENT if item.is_keyframe else Kind.FRAGMENT, item.data)
            self._send_answers()
            if stats := self._stats.count(item):
                self._send(Kind.STATS, stats.model_dump_json().encode())
            self._rest.check()
        elif isinstance(item, UtteranceStarted):
            self._stats.begin(item.utterance)
            self._rest.end(item.utterance)
            self._tell(protocol.UtteranceStarted(utterance=item.utterance, time_s=item.time_s))
        elif isinstance(item, UtteranceFinished):
            self._tell(
                protocol.UtteranceFinished(
                    utterance=item.utterance, position_s=item.position_s, interrupted=item.is_interrupted
                )
            )
            self._rest.begin(item.utterance)
        elif isinstance(item, Late):
            self._stats.num_held += item.num_held
            self._tell(protocol.Late(num_held=item.num_held, silence_s=item.silence_s))

    def _send_answers(self) -> None:
        while self._answers:
            self._tell(self._answers.popleft())

    def _tell(self, message: BaseModel) -> None:
        self._send(Kind.MESSAGE, message.model_dump_json().encode())

    def _send(self, kind: Kind, payload: bytes) -> None:
        self._connection.sendall(pack_message(kind, payload))

    def _shut(self, how: int) -> None:
        with contextlib.suppress(OSError):
            self._connection.shutdown(how)


class StatsLog:
    """Counts what was sent, and sums it up once a second."""

    def __init__(self, opened: OpenedSession) -> None:
        self.num_held = 0
        self._session = opened.session
        self._frame_s = 1 / opened.ready.fps
        self._num_frames = self._num_bytes = 0
        self._told_at = time.monotonic()
        self._pushed_at: float | None = None  # of an utterance whose first fragment is next
        self._latencies_s: list[float] = []

    def begin(self, utterance: int) -> None:
        """The next fragment is an utterance's first."""
        self._pushed_at = self._session.pushed_at(utterance)

    def count(self, fragment: Fragment) -> protocol.Stats | None:
        """Count a fragment that was sent; the figures, if it is time for them."""
        self._num_frames += fragment.num_frames
        self._num_bytes += len(fragment.data)
        now = time.monotonic()
        if self._pushed_at is not None:
            self._latencies_s.append(now - self._pushed_at)
            self._pushed_at = None
        if now - self._told_at < STATS_S:
            return None
        latencies_s, self._latencies_s, self._told_at = self._latencies_s, [], now
        return protocol.Stats(
            time_s=self._num_frames * self._frame_s,
            queued_s=self._session.queued_s,
            latency_ms=1000 * sum(latencies_s) / len(latencies_s) if latencies_s else None,
            num_frames=self._num_frames,
            num_held=self.num_held,
            num_bytes=self._num_bytes,
        )


def _decode(payload: bytes, start: protocol.Start) -> NDArray[Any]:
    """PCM as samples (n, channels). Raises RefusedError."""
    dtype = np.dtype(DTYPES[start.format])
    if len(payload) > MAX_MESSAGE_BYTES:
        raise RefusedError(CloseCode.MESSAGE_TOO_BIG, f"at most {MAX_MESSAGE_BYTES} bytes of PCM go in one message")
    if len(payload) % (dtype.itemsize * start.channels):
        raise RefusedError(
            CloseCode.BAD_MESSAGE,
            f"{len(payload)} bytes are cut inside a sample",
            f"{start.format} has {dtype.itemsize * start.channels} bytes for a sample of {start.channels} channel(s)",
        )
    samples = np.frombuffer(payload, dtype).reshape(-1, start.channels)
    if start.format == "s16le":
        return np.asarray(samples, np.int16)
    if not np.isfinite(samples).all():
        raise RefusedError(CloseCode.BAD_MESSAGE, "samples must be finite, but some are NaN or infinite")
    return np.asarray(np.clip(samples, -1.0, 1.0), np.float32)


def _read_start(connection: socket.socket) -> protocol.Start | None:
    """The first message, None where the connection ended before. Raises RefusedError, OSError."""
    connection.settimeout(START_S)
    message = _receive(connection)
    connection.settimeout(None)
    if message is None:
        return None
    kind, payload = message
    if kind is not Kind.START:
        raise RefusedError(CloseCode.OUT_OF_ORDER, "the first message must be START")
    try:
        start = protocol.read_client_message(payload.decode())
    except ValueError as error:
        raise RefusedError(CloseCode.BAD_MESSAGE, str(error)) from None
    if not isinstance(start, protocol.Start):
        raise RefusedError(CloseCode.BAD_MESSAGE, "START must hold a start message")
    return start


def _receive(connection: socket.socket) -> tuple[Kind, bytes] | None:
    """The next message, None at the end. Raises OSError, RefusedError where it is none of ours."""
    head = _receive_exactly(connection, HEADER.size)
    if head is None:
        return None
    number, num_bytes = HEADER.unpack(head)
    if num_bytes > MAX_MESSAGE_BYTES or number not in Kind.__members__.values():
        raise RefusedError(CloseCode.MESSAGE_TOO_BIG, f"message of kind {number} with {num_bytes} bytes")
    payload = _receive_exactly(connection, num_bytes)
    return None if payload is None else (Kind(number), payload)


def _receive_exactly(connection: socket.socket, num_bytes: int) -> bytes | None:
    """So many bytes, None where the connection ends before."""
    parts = []
    while num_bytes:
        part = connection.recv(min(num_bytes, 1 << 16))
        if not part:
            return None
        parts.append(part)
        num_bytes -= len(part)
    return b"".join(parts)


def _drain(connection: socket.socket) -> None:
    """Read on until the peer closes: closing with something unread would take the last messages from it."""
    deadline = time.monotonic() + LINGER_S
    connection.settimeout(LINGER_S)
    with contextlib.suppress(OSError):
        while time.monotonic() < deadline and connection.recv(1 << 16):
            pass


def _explain(error: BaseException) -> protocol.Error:
    if isinstance(error, RefusedError):
        return protocol.Error(code=error.code.name.lower(), message=str(error), hint=error.hint, fatal=True)
    code = (CloseCode.BAD_MESSAGE if isinstance(error, ConfigError) else CloseCode.SESSION_FAILED).name.lower()
    if isinstance(error, MuseTalkError):
        return protocol.Error(code=code, message=str(error), hint=error.hint, fatal=True)
    traceback.print_exception(type(error), error, error.__traceback__, file=sys.stderr)
    return protocol.Error(code=code, message=f"internal error: {type(error).__name__}", fatal=True)


def _pack(kind: Kind, message: BaseModel) -> bytes:
    return pack_message(kind, message.model_dump_json().encode())
