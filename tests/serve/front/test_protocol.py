"""What a client and the front say to each other, over real sockets, with fake workers."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from fixtures.fake_workers import FakePool
from fixtures.front_server import front_server, read_json
from musetalk_cli.serve.front import conversation
from musetalk_cli.serve.protocol import CLIENT_MESSAGES, MAX_MESSAGE_BYTES
from musetalk_cli.serve.wire import Kind

START = '{"type": "start"}'


async def closing_of(socket: Any) -> tuple[int, str]:
    """How a connection ends: close code, and the code of the error before it."""
    code = ""
    try:
        while True:
            data = await socket.recv()
            if isinstance(data, str) and json.loads(data)["type"] == "error" and json.loads(data)["fatal"]:
                assert json.loads(data)["message"]
                assert "--" not in data, "a client has no command line"
                code = json.loads(data)["code"]
    except ConnectionClosed as closed:
        assert closed.rcvd, "closed without a reason"
        assert closed.rcvd.reason
        return closed.rcvd.code, code


def test_a_session_from_start_to_finish() -> None:
    async def run() -> None:
        async with front_server() as front, front.connect() as socket:
            assert socket.subprotocol == "musetalk.v1"
            await socket.send('{"type": "start", "avatar": "theo", "rate_hz": 24000}')
            ready = json.loads(await socket.recv())
            assert ready["type"] == "ready"
            assert ready["viewers"] == f"/v1/sessions/{ready['session']}/live.mp4"
            assert await socket.recv() == b"init"
            assert (await socket.recv())[:4] == bytes(4)
            await socket.send(bytes(960))
            await socket.send('{"type": "end_utterance"}')
            assert (await read_json(socket, "utterance_finished"))["interrupted"] is False
            await socket.send('{"type": "clear"}')
            assert (await read_json(socket, "cleared"))["position_s"] == 0.5
            await socket.send('{"type": "ping", "id": "a"}')
            pong = await read_json(socket, "pong")
            assert pong["id"] == "a"
            assert pong["time_s"] > 0
            await socket.send('{"type": "finish"}')
            assert await closing_of(socket) == (1000, "")
            (session,) = front.pool.sessions
            await session.is_over.wait()
            assert session.start["avatar"] == "theo"
            assert session.kinds == [Kind.AUDIO, Kind.END_UTTERANCE, Kind.CLEAR, Kind.FINISH]
            assert session.num_audio_bytes == 960

    asyncio.run(run())


def test_fragments_arrive_in_order_and_whole() -> None:
    async def run() -> None:
        async with front_server(FakePool(interval_s=0.001)) as front, front.session() as socket:
            assert await socket.recv() == b"init"
            numbers = []
            while len(numbers) < 200:
                data = await socket.recv()
                if isinstance(data, bytes):
                    assert len(data) == front.pool.fragment_bytes
                    numbers.append(int.from_bytes(data[:4], "big"))
            assert numbers == list(range(200))

    asyncio.run(run())


BEFORE_START = [
    (bytes(960), 4409),
    ('{"type": "clear"}', 4409),
    ('{"type": "ping"}', 4409),
    ("", 4400),
    ("{", 4400),
    ("[]", 4400),
    ("null", 4400),
    ("[" * 100_000, 4400),
    ('{"type": "begin"}', 4400),
    ('{"type": "ready"}', 4400),
    ('{"type": "start", "colour": 1}', 4400),
    ('{"type": "start", "version": 2}', 4400),
    ('{"type": "start", "rate_hz": "16000"}', 4400),
    ('{"type": "start", "rate_hz": 1e4}', 4400),
    ('{"type": "start", "rate_hz": 7999}', 4400),
    ('{"type": "start", "fps": NaN}', 4400),
    ('{"type": "start", "fps": 61}', 4400),
    ('{"type": "start", "size": 65}', 4400),
    ('{"type": "start", "size": 1080}', 4400),  # larger than what sessions are admitted by
    ('{"type": "start", "fps": 50}', 4400),
    ('{"type": "start", "channels": 3}', 4400),
    ('{"type": "start", "format": "mp3"}', 4400),
    ('{"type": "start", "avatar": ""}', 4400),
    (json.dumps({"type": "start", "avatar": "x" * 65}), 4400),
    ('{"type": "start", "avatar": "nobody"}', 4404),
    ('{"type": "start", "avatar": "../../etc/passwd"}', 4404),
    ('{"type": "start", "avatar": "http://127.0.0.1/"}', 4404),
    ('{"type": "start", "model": "musetalk-1.5"}', 4404),
]
ERRORS = {4400: "bad_message", 4404: "not_found", 4409: "out_of_order"}


def test_what_is_no_start_is_refused_with_a_reason() -> None:
    async def run() -> None:
        async with front_server() as front:
            for message, code in BEFORE_START:
                async with front.connect() as socket:
                    await socket.send(message)
                    assert await closing_of(socket) == (code, ERRORS[code]), message[:60]
            assert front.pool.sessions == []

    asyncio.run(run())


BEHIND_START = [
    (START, 4409),
    ('{"type": "clear", "now": true}', 4400),
    ('{"type": "ping", "id": -1}', 4400),
    (json.dumps({"type": "ping", "id": "x" * 65}), 4400),
    (bytes(961), 4400),
]


@pytest.mark.parametrize(("message", "code"), BEHIND_START, ids=str)
def test_what_is_wrong_later_ends_the_session(message: str | bytes, code: int) -> None:
    async def run() -> None:
        async with front_server() as front, front.session() as socket:
            await socket.send(message)
            assert await closing_of(socket) == (code, ERRORS[code])
            await front.pool.sessions[0].is_over.wait()

    asyncio.run(run())


def test_only_ping_may_follow_finish() -> None:
    async def run() -> None:
        pool = FakePool()
        pool._answer = lambda kind, writer: None  # type: ignore[method-assign] # it speaks on
        async with front_server(pool) as front, front.session() as socket:
            await socket.send('{"type": "finish"}')
            await socket.send('{"type": "ping", "id": 7}')
            assert (await read_json(socket, "pong"))["id"] == 7
            await socket.send(bytes(2))
            assert await closing_of(socket) == (4409, "out_of_order")

    asyncio.run(run())


def test_a_message_that_is_too_big_or_no_text_closes_with_the_code_of_websockets() -> None:
    async def run() -> None:
        async with front_server() as front:
            async with front.session() as socket:
                await socket.send(bytes(MAX_MESSAGE_BYTES))
                while front.pool.sessions[0].num_audio_bytes < MAX_MESSAGE_BYTES:
                    await socket.recv()
                await socket.send(bytes(MAX_MESSAGE_BYTES + 2))
                assert (await closing_of(socket))[0] == 1009
            async with front.session() as socket:
                await socket.send(b"\xff\xfe", text=True)
                assert (await closing_of(socket))[0] == 1007
            for session in front.pool.sessions:
                await session.is_over.wait()
            reasons = [line["reason"] for line in front.log.events("session closed")]
            assert reasons == ["message_too_big", "not_utf8"]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("fault", "code", "error"),
    [
        ("dies", 1011, "session_failed"),
        ("garbage", 1011, "session_failed"),
        ("cut", 1011, "session_failed"),
        ("error", 1011, "session_failed"),
        ("flooded", 4413, "flooded"),
    ],
)
def test_a_worker_that_fails_ends_its_session_with_a_reason(fault: str, code: int, error: str) -> None:
    async def run() -> None:
        async with front_server(FakePool(fault=fault)) as front:
            async with front.session() as socket:
                assert await closing_of(socket) == (code, error)
            front.pool.fault = ""
            async with front.session() as socket:
                await read_json(socket, "stats")

    asyncio.run(run())


def test_a_worker_that_dies_while_voice_waits_for_it_is_no_bug(caplog: pytest.LogCaptureFixture) -> None:
    async def push(socket: ClientConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await socket.send(bytes(MAX_MESSAGE_BYTES))

    async def run() -> None:
        async with front_server(FakePool(fault="stuck", interval_s=0.2)) as front, front.session() as socket:
            pushing = asyncio.create_task(push(socket))
            assert "process ended unexpectedly" in (await read_json(socket, "error"))["message"]
            assert "bug" not in caplog.text
            await pushing

    asyncio.run(run())


def test_a_worker_that_is_never_ready_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "OPEN_S", 0.1)

    async def run() -> None:
        async with front_server(FakePool(fault="silent")) as front, front.connect() as socket:
            await socket.send(START)
            assert await closing_of(socket) == (1011, "session_failed")

    asyncio.run(run())


def test_a_client_that_says_nothing_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "START_S", 0.1)

    async def run() -> None:
        async with front_server(idle_s=1.0) as front:
            async with front.connect() as socket:
                assert await closing_of(socket) == (4408, "timed_out")
            async with front.session() as socket:
                assert await closing_of(socket) == (4408, "timed_out")
            await front.pool.sessions[0].is_over.wait()

    asyncio.run(run())


def test_a_ping_says_that_somebody_is_there() -> None:
    async def run() -> None:
        async with front_server(idle_s=1.5) as front, front.session() as socket:
            pinging = asyncio.ensure_future(ping_on(socket))
            for _ in range(4):  # one a second
                await read_json(socket, "stats")
            pinging.cancel()

    asyncio.run(run())


async def ping_on(socket: Any) -> None:
    while True:
        await socket.send('{"type": "ping"}')
        await asyncio.sleep(0.3)


def test_refusals_do_not_repeat_what_was_sent() -> None:
    async def run() -> None:
        async with front_server() as front:
            async with front.connect() as socket:
                await socket.send(json.dumps({"type": "start", "format": "secret-value"}))
                error = json.loads(await socket.recv())
                assert error["type"] == "error"
                assert error["message"].startswith("format: ")
                assert error["fatal"] is True
                assert "secret-value" not in error["message"]
            assert "secret-value" not in "".join(front.log.lines)

    asyncio.run(run())


def test_every_message_of_the_client_is_strict() -> None:
    for choice in CLIENT_MESSAGES.json_schema()["$defs"].values():
        assert choice["additionalProperties"] is False
