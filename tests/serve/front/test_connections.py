"""Clients that send too little, or take too little, are cut off, and everything of theirs is freed."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket as sockets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from fixtures.fake_workers import FakePool
from fixtures.front_server import RunningFront, front_server
from musetalk_cli.serve.front import connections, conversation

LOCAL = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
NO_REQUESTS = [b"\x16\x03\x01\x02\x00\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", LOCAL + b"X: " + b"y" * 70_000]


@asynccontextmanager
async def raw_session(front: RunningFront, start: bytes = b'{"type": "start"}') -> AsyncIterator[sockets.socket]:
    """A socket behind the handshake and ``start``, whose small buffer nobody reads and which answers no ping."""
    loop = asyncio.get_running_loop()
    with sockets.socket() as client:
        client.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", front.port))
        key = base64.b64encode(os.urandom(16)).decode()
        await loop.sock_sendall(
            client,
            f"GET /v1/session HTTP/1.1\r\nHost: 127.0.0.1:{front.port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode(),
        )
        assert b"101" in await loop.sock_recv(client, 12)
        await loop.sock_sendall(client, frame(1, start))
        while not front.pool.sessions or front.pool.sessions[-1].is_over.is_set():
            await asyncio.sleep(0.01)
        yield client


def frame(opcode: int, payload: bytes) -> bytes:
    """A masked frame, its mask zero."""
    size = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2, "big")
    return bytes([0x80 | opcode]) + size + bytes(4) + payload


async def end_of(front: RunningFront) -> str:
    """The reason of the next session that ends, once everything of it is free."""
    while not front.log.events("session closed"):
        await asyncio.sleep(0.02)
    await front.pool.sessions[-1].is_over.wait()
    status = json.loads((await front.get("/v1/status"))[2])
    assert status["sessions"] == 0
    return str(front.log.events("session closed")[-1]["reason"])


def test_a_client_that_answers_no_ping_is_gone() -> None:
    async def run() -> None:
        async with front_server(FakePool(fragment_bytes=16)) as front, raw_session(front):
            assert await end_of(front) == "no_pong"

    asyncio.run(run())


def test_a_client_that_reads_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pings, too, are stuck behind fragments, in a buffer that is full."""

    async def run() -> None:
        async with front_server(FakePool(fragment_bytes=200_000)) as front, raw_session(front):
            assert await end_of(front) == "too_slow"

    asyncio.run(run())


def test_a_client_that_answers_pings_and_reads_too_slowly_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "BEHIND_S", 1.0)

    async def run() -> None:
        pool = FakePool(fragment_bytes=1_000_000)
        async with front_server(pool) as front, front.session(max_queue=1, close_timeout=0.1) as socket:
            reading = asyncio.ensure_future(read_slowly(socket.recv))
            assert await end_of(front) == "too_slow"
            reading.cancel()

    asyncio.run(run())


async def read_slowly(receive: object) -> None:
    while True:
        await receive()  # type: ignore[operator]
        await asyncio.sleep(0.2)


def test_a_client_that_vanishes_is_gone_at_once() -> None:
    async def run() -> None:
        async with front_server() as front:
            async with raw_session(front) as client:
                client.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
            assert await end_of(front) == "client_gone"

    asyncio.run(run())


def test_half_a_close_is_a_close() -> None:
    async def run() -> None:
        async with front_server() as front, raw_session(front) as client:
            client.shutdown(sockets.SHUT_WR)
            assert await end_of(front) == "client_gone"

    asyncio.run(run())


def test_bytes_that_are_no_websocket_end_it() -> None:
    async def run() -> None:
        async with front_server() as front, raw_session(front) as client:
            await asyncio.get_running_loop().sock_sendall(client, os.urandom(2) + b"\xff" * 4000)
            assert await end_of(front) in ("no_websocket", "client_gone", "message_too_big")

    asyncio.run(run())


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
def test_a_request_that_does_not_come_is_not_waited_for(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUEST_S", 0.2)

    async def run() -> None:
        async with front_server() as front:
            reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
            writer.write(sent)
            answer = await reader.read()  # to its end
            assert answer.startswith(b"HTTP/1.1 200") if b"healthz" in sent else answer == b""
            writer.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    "sent",
    NO_REQUESTS,
)
def test_what_is_no_request_is_answered_as_an_error(sent: bytes) -> None:
    async def run() -> None:
        async with front_server() as front:
            status, headers, body = await front.exchange(sent)
            assert status == 400
            assert headers["content-type"] == "application/json"
            assert headers["x-content-type-options"] == "nosniff"
            assert json.loads(body)["error"]["code"] == "bad_request"

    asyncio.run(run())


def test_connections_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 2)

    async def run() -> None:
        async with front_server() as front, front.session():
            reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
            writer.write(LOCAL + b"X: ")
            with pytest.raises((ConnectionError, ValueError, IndexError)):
                await front.get("/healthz")
            writer.close()
            await reader.read()
            while True:
                try:
                    assert (await front.get("/healthz"))[0] == 200
                    break
                except (ConnectionError, IndexError):
                    await asyncio.sleep(0.01)

    asyncio.run(run())
