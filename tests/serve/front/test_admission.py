"""Who gets a session, and what is said to who does not."""

from __future__ import annotations

import asyncio
import json
import signal
from socket import has_dualstack_ipv6

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from fixtures.fake_workers import FakePool
from fixtures.front_server import RunningFront, front_server, read_json
from musetalk_cli.serve.front.admission import Admission, client_of


async def refusal_of(front: RunningFront, **options: object) -> tuple[int, str | None, dict[str, str]]:
    """Status, Retry-After and error of a session that is refused before it is accepted."""
    with pytest.raises(InvalidStatus) as refused:
        async with front.connect(**options):  # type: ignore[arg-type]
            pass
    response = refused.value.response
    return response.status_code, response.headers.get("Retry-After"), json.loads(response.body or b"{}")["error"]


def test_beyond_the_limit_a_session_is_refused_with_the_time_to_return(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        async with front_server(max_sessions=1) as front:
            async with front.session():
                status, retry_after, error = await refusal_of(front)
                assert (status, error["code"]) == (503, "full")
                assert int(retry_after or 0) > 0
                assert json.loads((await front.get("/v1/status"))[2])["refusal"]["code"] == "full"
                assert error["message"] == "the session is taken"
            assert "handshake" not in caplog.text, "a refusal is an answer"
            while json.loads((await front.get("/v1/status"))[2])["refusal"]:
                await asyncio.sleep(0.01)
            async with front.session():
                pass

    asyncio.run(run())


def test_the_limit_is_what_the_workers_measured_where_none_is_set() -> None:
    async def run() -> None:
        for measured, expected in ((3, 3), (None, 4)):
            async with front_server(FakePool(max_sessions=measured)) as front:
                assert json.loads((await front.get("/v1/status"))[2])["max_sessions"] == expected

    asyncio.run(run())


def test_one_client_gets_no_more_than_its_share() -> None:
    async def run() -> None:
        async with front_server(max_sessions_per_client=1) as front:
            mine = {"X-Forwarded-For": "198.51.100.7"}  # a proxy on this machine says so
            async with front.session(headers=mine):
                status, retry_after, error = await refusal_of(front, headers=mine)
                assert (status, error["code"]) == (429, "client_full")
                assert int(retry_after or 0) > 0
                async with front.session(headers={"X-Forwarded-For": "198.51.100.8"}), front.session(), front.session():
                    pass

    asyncio.run(run())


def test_a_network_of_ipv6_is_one_client_and_this_machine_none() -> None:
    assert client_of("2001:db8::1") == client_of("2001:db8::2") != client_of("2001:db8:0:1::1")
    assert client_of("127.0.0.1") is client_of("::1") is None
    assert client_of("192.0.2.1") == "192.0.2.1"
    assert client_of("unknown") == "unknown"


def test_a_client_of_ipv4_is_the_same_at_a_socket_of_both() -> None:
    assert client_of("::ffff:192.0.2.1") == client_of("192.0.2.1") != client_of("::ffff:192.0.2.2")
    assert client_of("::ffff:127.0.0.1") is None


@pytest.mark.skipif(not has_dualstack_ipv6(), reason="needs IPv6")
def test_a_proxy_on_this_machine_names_clients_at_a_socket_of_both_too() -> None:
    async def run() -> None:
        mine, anothers = {"X-Forwarded-For": "198.51.100.7"}, {"X-Forwarded-For": "198.51.100.8"}
        async with front_server(host="::", max_sessions_per_client=1) as front, front.session(headers=mine):
            assert (await refusal_of(front, headers=mine))[0] == 429
            async with front.session(headers=anothers), front.session(), front.session():
                pass

    asyncio.run(run())


def test_seats_are_given_back() -> None:
    admission = Admission(2, 1)
    with admission.seat("192.0.2.1"):
        assert (admission.refuse("192.0.2.1") or pytest.fail()).status == 429
        assert admission.refuse("192.0.2.2") is None
    assert admission.refuse("192.0.2.1") is None
    assert admission.num_sessions == 0


def test_a_server_that_drains_takes_nobody_and_lets_others_finish() -> None:
    async def run() -> None:
        async with front_server(drain_s=30.0) as front, front.session() as socket:
            front.signals.put_nowait(signal.SIGTERM)
            assert (await read_json(socket, "draining"))["seconds"] == 30
            status, retry_after, error = await refusal_of(front)
            assert (status, error["code"]) == (503, "draining")
            assert int(retry_after or 0) > 0
            status, _, body = await front.get("/healthz")
            assert (status, json.loads(body)["status"]) == (503, "draining")
            await socket.send('{"type": "finish"}')
            with pytest.raises(ConnectionClosed) as closed:
                while True:
                    await socket.recv()
            assert closed.value.rcvd and closed.value.rcvd.code == 1000
            await front.running  # at once, not after 30 s

    asyncio.run(run())


def test_a_session_that_has_not_begun_is_ended_too() -> None:
    async def run() -> None:
        async with front_server(drain_s=0.1) as front, front.connect() as socket:
            front.signals.put_nowait(signal.SIGTERM)
            assert (await read_json(socket, "error"))["code"] == "going_away"
            await front.running

    asyncio.run(run())


@pytest.mark.parametrize("has_second_signal", [False, True])
def test_what_does_not_finish_is_ended(has_second_signal: bool) -> None:
    async def run() -> None:
        drain_s = 3000.0 if has_second_signal else 0.2
        async with front_server(drain_s=drain_s) as front, front.session() as socket:
            front.signals.put_nowait(signal.SIGTERM)
            await read_json(socket, "draining")
            if has_second_signal:
                front.signals.put_nowait(signal.SIGINT)
            assert (await read_json(socket, "error"))["code"] == "going_away"
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
            assert closed.value.rcvd and closed.value.rcvd.code == 1001
            await front.running
            assert front.pool.sessions[0].is_over.is_set()

    asyncio.run(run())
