"""Hosts, origins and tokens: who may come in, and that no log knows a secret."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from fixtures.front_server import RunningFront, front_server
from musetalk_cli.configuration.schema import Config, ServeConfig
from musetalk_cli.errors import ConfigError, MuseTalkError
from musetalk_cli.serve.front.security import check_origins, is_loopback, read_token
from musetalk_cli.serve.front.server import make_guard

TOKEN = "correct-horse-battery-staple"  # noqa: S105
WRONG = "incorrect-horse-battery-stap"


def in_base64(token: str) -> str:
    return base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")


@pytest.fixture
def token_file(tmp_path: Path) -> str:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    return str(tmp_path / "token")


async def status_of(front: RunningFront, **options: object) -> int:
    """101 where a session is accepted, else the status of the refusal."""
    try:
        async with front.connect(**options):  # type: ignore[arg-type]
            return 101
    except InvalidStatus as refused:
        assert json.loads(refused.value.response.body)["error"]["message"] if hasattr(refused, "value") else True
        return refused.response.status_code


def test_a_name_that_is_not_this_machines_is_refused() -> None:
    """What DNS rebinding needs: a page of another site, whose name points here."""

    async def run() -> None:
        async with front_server(allow_origins=("https://talk.example",)) as front:
            port = front.port
            own = [
                "127.0.0.1",
                f"127.0.0.1:{port}",
                f"localhost:{port}",
                "LOCALHOST",
                "[::1]:8900",
                socket.gethostname(),
            ]
            for host in [*own, "talk.example", "talk.example:443"]:
                assert (await front.get("/healthz", Host=host))[0] == 200, host
            for host in (
                "evil.example",
                f"evil.example:{port}",
                "localhost.evil.example",
                "127.0.0.1.evil.example",
                "",
            ):
                status, _, body = await front.get("/v1/status", Host=host)
                assert (status, json.loads(body)["error"]["code"]) == (403, "host_refused"), host

    asyncio.run(run())


def test_pages_of_other_origins_are_refused() -> None:
    async def run() -> None:
        async with front_server(allow_origins=("https://talk.example",)) as front:
            own = [f"http://127.0.0.1:{front.port}", "https://talk.example"]
            others = [
                "http://evil.example",
                "null",
                "http://127.0.0.1:1",
                "https://talk.example.evil",
                "http://talk.example",
            ]
            assert await status_of(front) == 101
            for origin in own:
                assert await status_of(front, headers={"Origin": origin}) == 101, origin
            for origin in others:
                assert await status_of(front, headers={"Origin": origin}) == 403, origin
                assert (await front.get("/v1/avatars", Origin=origin))[0] == 403

    asyncio.run(run())


def test_a_token_is_asked_for_in_each_of_its_forms(token_file: str) -> None:
    async def run() -> None:
        async with front_server(token_file=token_file) as front:
            right, wrong = {"Authorization": f"Bearer {TOKEN}"}, {"Authorization": f"Bearer {WRONG}"}
            assert await status_of(front, headers=right) == 101
            assert await status_of(front, subprotocols=("musetalk.v1", f"musetalk.token.{in_base64(TOKEN)}")) == 101
            assert await status_of(front) == 401
            assert await status_of(front, headers=wrong) == 401
            for bad in (WRONG, "", TOKEN + "x", TOKEN[:-1], "é" * 20):
                protocols = ("musetalk.v1", f"musetalk.token.{in_base64(bad)}x")
                assert await status_of(front, subprotocols=protocols) == 401, bad
            for path in ("/v1/avatars", "/v1/status", "/metrics", "/v1/avatars/nora/thumbnail.jpg", "/nothing"):
                status, headers, body = await front.get(path)
                assert (status, json.loads(body)["error"]["code"]) == (401, "token_refused"), path
                assert headers["www-authenticate"].startswith("Bearer")
                assert (await front.get(path, **right))[0] in (200, 404)
            for path in ("/healthz", "/v1/protocol.json"):
                assert (await front.get(path))[0] == 200, path
            # Any name will do where a token is shown.
            assert (await front.get("/v1/avatars", Host="talk.example", **right))[0] == 200

    asyncio.run(run())


def test_no_host_makes_another_path_of_a_request(token_file: str) -> None:
    """Who builds an address of Host and path, and takes the path of that, opens a door."""

    async def run() -> None:
        async with front_server(token_file=token_file) as front:
            for host in (
                "a/healthz?",
                "a/healthz#",
                "a/healthz?b=",
                "a/v1/protocol.json?",
                "a/?",
                "a@b/healthz?",
                "[::1",
            ):
                assert (await front.get("/v1/avatars", Host=host))[0] in (400, 401), host
                assert (await front.get("/metrics", Host=host))[0] in (400, 401), host

    asyncio.run(run())


def test_what_a_proxy_says_is_never_a_way_in(token_file: str) -> None:
    async def run() -> None:
        async with front_server(token_file=token_file, max_sessions_per_client=1) as front:
            for client in ("127.0.0.1", "::1", "", ",,,", "a:b:c", "[", "%00", "x" * 5000, "1.2.3.4, 5.6.7.8"):
                status, _, _ = await front.get("/v1/avatars", X_Forwarded_For=client, X_Forwarded_Proto="wss\\")
                assert status == 401, client

    asyncio.run(run())


def test_a_query_may_have_the_token_where_a_page_shows_media_only(token_file: str) -> None:
    async def run() -> None:
        async with front_server(token_file=token_file) as front:
            assert (await front.get(f"/v1/avatars/nora/thumbnail.jpg?token={TOKEN}"))[0] == 200
            assert (await front.get(f"/v1/avatars/nora/thumbnail.jpg?token={WRONG}"))[0] == 401
            assert (await front.get(f"/v1/sessions/none/live.mp4?token={TOKEN}"))[0] == 404
            assert (await front.get(f"/v1/avatars?token={TOKEN}"))[0] == 401

    asyncio.run(run())


def test_no_log_has_a_token_a_query_or_a_sessions_id(token_file: str) -> None:
    async def run() -> None:
        async with front_server(token_file=token_file) as front:
            await front.get(f"/v1/avatars/nora/thumbnail.jpg?token={TOKEN}")
            await front.get(f"/v1/avatars?token={WRONG}")
            async with front.session(headers={"Authorization": f"Bearer {TOKEN}"}) as socket_:
                session_id = front.ready["session"]
                await front.get(f"/v1/sessions/{session_id}x/live.mp4?token={TOKEN}")
                await socket_.close()
            log = "\n".join(front.log.lines)
            assert "/v1/sessions/.../live.mp4" in log
            for secret in (TOKEN, WRONG, in_base64(TOKEN), "token=", session_id, "?"):
                assert secret not in log

    asyncio.run(run())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "shorter than 16"),
        (b"short", "shorter than 16"),
        (b"two words that are long enough", "one word"),
        ("schlüssel-mit-umlaut".encode(), "ASCII"),
        (b"\xff" * 40, "not text"),
    ],
)
def test_a_token_file_must_hold_a_token(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(ConfigError, match=words) as error:
        read_token(tmp_path / "token")
    assert "short\n" not in str(error.value)


def test_other_addresses_need_a_token_or_the_word_that_they_do_not(token_file: str) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1", "talk.example"):  # noqa: S104
        with pytest.raises(MuseTalkError, match="need a token"):
            make_guard(Config(serve=ServeConfig(host=host)), needs_no_token=False)
        assert make_guard(Config(serve=ServeConfig(host=host)), needs_no_token=True).token is None
        assert (
            make_guard(Config(serve=ServeConfig(host=host, token_file=token_file)), needs_no_token=False).token == TOKEN
        )
    with pytest.raises(ConfigError, match="exclude"):
        make_guard(Config(serve=ServeConfig(token_file=token_file)), needs_no_token=True)
    with pytest.raises(ConfigError, match="cannot read"):
        make_guard(Config(serve=ServeConfig(token_file="/nowhere/token")), needs_no_token=False)  # noqa: S106
    assert [host for host in ("127.0.0.1", "::1", "localhost", "127.1.2.3") if not is_loopback(host)] == []


@pytest.mark.parametrize("origin", ["*", "talk.example", "https://talk.example/", "https://", "ftp://talk.example"])
def test_what_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(ConfigError, match="no origin"):
        check_origins([origin])
