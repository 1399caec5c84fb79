"""The server that clients ask first: it names a machine's address, or sends them there."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fixtures.fake_machines import FakeMachine, FakeMachines, make_machine, settings_of
from fixtures.front_server import RunningFront, front_server, read_json
from musetalk_cli.configuration.schema import Config
from musetalk_cli.errors import ConfigError, MuseTalkError, ServeError
from musetalk_cli.serve.cluster import machines, server
from musetalk_cli.serve.cluster.machines import MachinePool
from musetalk_cli.serve.cluster.server import ClusterServer, run_cluster_server
from musetalk_cli.serve.cluster.session_machine import MachineSettings

TOKEN = "correct-horse-battery"  # noqa: S105


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machines, "ASK_S", 0.01)


@asynccontextmanager
async def placing(*running: FakeMachine, **settings: object) -> AsyncIterator[RunningFront]:
    """A server for machines that are there, answering."""
    cluster = FakeMachines(**{f"n{index}": each for index, each in enumerate(running)})
    async with front_server(MachinePool(cluster, settings_of, print), kind=ClusterServer, **settings) as front:
        for _ in range(5000):
            status, _, body = await front.get("/v1/status")
            if status == 200 and json.loads(body)["max_sessions"] == sum(each.ready.max_sessions for each in running):
                break
        yield front


def test_a_client_is_sent_to_a_machine_and_has_its_session_there() -> None:
    async def run() -> None:
        async with front_server() as machine:
            address = f"http://127.0.0.1:{machine.port}/"
            async with placing(make_machine("one", address=address)) as front:
                async with front.session() as socket:  # it follows the redirection
                    assert front.ready["avatar"] == "nora"
                    await socket.send(json.dumps({"type": "ping", "id": 7}))
                    assert (await read_json(socket, "pong"))["id"] == 7
                    assert len(machine.pool.sessions) == 1
                status, headers, body = await front.get("/v1/place", method="POST")
                assert (status, headers["cache-control"]) == (200, "no-store")
                assert json.loads(body) == {"session": f"ws://127.0.0.1:{machine.port}/v1/session"}
                assert (await front.get("/v1/place"))[0] == 405

    asyncio.run(run())


def test_the_page_is_told_and_may_connect_elsewhere() -> None:
    async def run() -> None:
        async with placing(make_machine("one")) as front:
            assert json.loads((await front.get("/v1/avatars"))[2])["place"] == "/v1/place"
            assert "connect-src 'self' ws: wss:;" in (await front.get("/"))[1]["content-security-policy"]
        async with front_server() as plain:
            assert json.loads((await plain.get("/v1/avatars"))[2])["place"] is None
            assert "connect-src 'self';" in (await plain.get("/"))[1]["content-security-policy"]
            assert (await plain.get("/v1/place", method="POST"))[0] == 404

    asyncio.run(run())


def test_pages_are_let_in_under_the_name_that_they_used() -> None:
    async def run() -> None:
        machine = make_machine("one", 8)
        async with placing(machine) as front:
            await front.get("/v1/place", method="POST", Host="192.168.7.7:8900")
            origin = f"http://127.0.0.1:{front.port}"
            await front.get("/v1/place", method="POST", Origin=origin)
            await front.get("/v1/place", method="POST", Origin=origin)
            assert machine.origins == ["http://192.168.7.7:8900", origin]
            status, _, _ = await front.get("/v1/place", method="POST", Origin="https://evil.example")
            assert status == 403
            assert "https://evil.example" not in machine.origins

    asyncio.run(run())


def test_a_full_cluster_refuses() -> None:
    async def run() -> None:
        async with placing(make_machine("one", 1), make_machine("two", 1)) as front:
            for _ in range(2):
                assert (await front.get("/v1/place", method="POST"))[0] == 200
            status, headers, body = await front.get("/v1/place", method="POST")
            assert (status, headers["retry-after"]) == (503, "5")
            assert json.loads(body)["error"]["message"] == "all 2 sessions of the cluster are taken"
            said = json.loads((await front.get("/v1/status"))[2])
            assert (said["sessions"], said["refusal"]["code"]) == (2, "full")
            metrics = (await front.get("/metrics"))[2].decode()
            assert 'musetalk_refusals_total{reason="full"} 1.0' in metrics
            assert "musetalk_sessions 2.0" in metrics
            assert "musetalk_worker_processes 4.0" in metrics

    asyncio.run(run())


def test_a_client_that_only_asks_leaves_room_for_others() -> None:
    async def run() -> None:
        async with placing(make_machine("one", 6)) as front:
            for _ in range(9):
                asked = await front.get("/v1/place", method="POST", X_Forwarded_For="192.0.2.9")  # a proxy's, here
                assert asked[0] == 200
            assert json.loads((await front.get("/v1/status"))[2])["sessions"] == 4

    asyncio.run(run())


def test_a_token_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)

    async def run() -> None:
        async with placing_with_token(tmp_path / "token") as front:
            assert (await front.get("/v1/place", method="POST"))[0] == 401
            status, _, _ = await front.get("/v1/place", method="POST", Authorization=f"Bearer {TOKEN}")
            assert status == 200

    asyncio.run(run())


def test_a_redirected_client_shows_its_token_as_a_subprotocol(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    encoded = base64.urlsafe_b64encode(TOKEN.encode()).decode().rstrip("=")

    async def run() -> None:
        settings = {"token_file": str(tmp_path / "token")}
        async with front_server(**settings) as machine:
            one = make_machine("one", address=f"http://127.0.0.1:{machine.port}/")
            async with front_server(machine_pool(one), kind=ClusterServer, **settings) as front:
                protocols = ("musetalk.v1", f"musetalk.token.{encoded}")
                async with front.session(subprotocols=protocols) as socket:
                    assert socket.subprotocol == "musetalk.v1"
                    assert len(machine.pool.sessions) == 1

    asyncio.run(run())


@asynccontextmanager
async def placing_with_token(path: Path) -> AsyncIterator[RunningFront]:
    pool = machine_pool(make_machine("one"))
    async with front_server(pool, kind=ClusterServer, token_file=str(path)) as front:
        while not pool.is_ready:
            await asyncio.sleep(0.002)
        yield front


def machine_pool(machine: FakeMachine) -> MachinePool:
    return MachinePool(FakeMachines(a=machine), settings_of, print)


@pytest.mark.parametrize(
    ("serve", "said"),
    [
        ({}, "the machines of a cluster are reached from others"),
        ({"host": "0.0.0.0"}, "reached from other machines"),  # noqa: S104
        ({"token_file": "no-such-file"}, "cannot read the token file"),
    ],
)
def test_a_cluster_needs_a_token(serve: dict[str, str], said: str) -> None:
    with pytest.raises((MuseTalkError, ConfigError), match=said):
        run_cluster_server(config_with(**serve), "10.255.255.1:6379")


def test_a_token_or_everybody_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(config: Config) -> None:
        raise ServeError("that far")

    monkeypatch.setattr(server, "open_listener", refuse)
    (tmp_path / "token").write_text(TOKEN)
    for config, options in (
        (config_with(token_file=str(tmp_path / "token")), {}),
        (config_with(), {"needs_no_token": True}),
        (config_with(host="0.0.0.0"), {"needs_no_token": True}),  # noqa: S104
    ):
        with pytest.raises(ServeError, match="that far"):
            run_cluster_server(config, "10.255.255.1:6379", **options)


def test_the_machines_drain_with_the_server() -> None:
    async def run() -> None:
        machine = make_machine("one")
        async with placing(machine, drain_s=1000.0) as front:
            machine.num_sessions = 1
            while json.loads((await front.get("/v1/status"))[2])["sessions"] != 1:
                await asyncio.sleep(0.002)
            front.signals.put_nowait(signal.SIGTERM)
            while not machine.num_drains:
                await asyncio.sleep(0.002)

    asyncio.run(run())


def test_sessions_of_this_machine_are_not_promised_to_others() -> None:
    with pytest.raises(ServeError, match="reached from this machine only") as caught:
        run_cluster_server(config_with(host="0.0.0.0"), "local", needs_no_token=True)  # noqa: S104
    assert "--host" in caught.value.hint


def config_with(**serve: Any) -> Config:
    return replace(Config(), serve=replace(Config().serve, port=0, **serve))


def test_settings_do_not_show_the_token() -> None:
    assert TOKEN not in repr(MachineSettings("", "10.0.0.3", 8900, TOKEN, (), 2))
