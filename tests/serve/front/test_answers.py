"""What HTTP gives: data, errors as JSON, headers of safety, metrics that are true, and no file but the page's."""

from __future__ import annotations

import asyncio
import json
import re

import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from fixtures.fake_workers import JPEG
from fixtures.front_server import RunningFront, front_server
from musetalk_cli.serve.front import answers
from musetalk_cli.serve.protocol import describe_protocol


def test_avatars_have_names_sizes_and_thumbnails() -> None:
    async def run() -> None:
        async with front_server() as front:
            status, headers, body = await front.get("/v1/avatars")
            content = json.loads(body)
            assert (status, headers["content-type"]) == (200, "application/json")
            assert (content["default"], content["model"]) == ("nora", "warp")
            assert [each["name"] for each in content["avatars"]] == ["nora", "theo"]
            first = content["avatars"][0]
            assert (first["kind"], first["width"], first["height"]) == ("built in", 512, 512)
            status, headers, body = await front.get(first["thumbnail"])
            assert (status, headers["content-type"], body) == (200, "image/jpeg", JPEG)

    asyncio.run(run())


PATHS = [
    "/",
    "/healthz",
    "/metrics",
    "/v1/avatars",
    "/v1/status",
    "/v1/protocol.json",
    "/v1/avatars/nora/thumbnail.jpg",
]
MISSING = [
    "/nothing.html",
    "/v1",
    "/v1/avatars/",
    "/v1/avatars/nobody/thumbnail.jpg",
    "/v1/sessions/none/live.mp4",
    "/index.html/",
    "/__init__.py",
    "/../protocol.py",
    "/%2e%2e/protocol.py",
    "/..%2fprotocol.py",
    "/%2e%2e%2f%2e%2e%2fcli.py",
    "//etc/passwd",
    "/.%00.html",
    "/page/index.html",
    "/v1/avatars/..%2f..%2fetc%2fpasswd/thumbnail.jpg",
]


def test_every_answer_has_its_headers() -> None:
    async def run() -> None:
        async with front_server() as front:
            for path in [*PATHS, *MISSING]:
                for method in ("GET", "HEAD", "POST"):
                    _, headers, _ = await front.get(path, method)
                    assert headers["x-content-type-options"] == "nosniff", path
                    assert "default-src 'none'" in headers["content-security-policy"], path
                    assert headers["referrer-policy"] == "no-referrer"
                    assert "cache-control" in headers
                    assert "server" not in headers

    asyncio.run(run())


def test_what_is_not_there_is_said_as_json() -> None:
    async def run() -> None:
        async with front_server() as front:
            for path in MISSING:
                status, headers, body = await front.get(path)
                assert (status, headers["content-type"]) == (404, "application/json"), path
                assert json.loads(body)["error"]["code"] == "not_found"
            for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE"):
                status, headers, body = await front.get("/v1/avatars", method)
                assert (status, json.loads(body)["error"]["code"]) == (405, "method_not_allowed")
                assert "GET" in headers["allow"]

    asyncio.run(run())


def test_who_asks_for_a_session_without_a_websocket_is_told_how_to_open_one() -> None:
    async def run() -> None:
        async with front_server() as front:
            status, headers, body = await front.get("/v1/session")
            assert (status, headers["upgrade"], headers["connection"].lower()) == (426, "websocket", "upgrade")
            error = json.loads(body)["error"]
            assert error["code"] == "websocket_required"
            assert error["message"] == "a session is opened with a WebSocket of the subprotocol musetalk.v1"
            assert error["hint"] == "GET / is a page that opens one"
            assert (await front.get("/v1/session", "POST"))[0] == 405
            assert (await front.get("/healthz"))[0] == 200

    asyncio.run(run())


def test_a_websocket_elsewhere_is_told_where_sessions_begin() -> None:
    async def run() -> None:
        async with front_server() as front:
            address = front.address.replace("/v1/session", "/v1/sessions")
            with pytest.raises(InvalidStatus) as refused:
                await connect(address, proxy=None).__aenter__()
            answer = refused.value.response
            assert (answer.status_code, json.loads(answer.body)["error"]["hint"]) == (404, "they begin at /v1/session")

    asyncio.run(run())


def test_head_is_get_without_the_body() -> None:
    async def run() -> None:
        async with front_server() as front:
            for path in PATHS[1:]:
                status, headers, body = await front.get(path, "HEAD")
                assert (status, body) == (200, b""), path
                if path != "/metrics":
                    assert headers["content-length"] == (await front.get(path))[1]["content-length"]

    asyncio.run(run())


def test_the_page_has_a_strict_policy_and_types() -> None:
    files = answers._page_files()
    if not files:
        pytest.skip("the page is not there")

    async def run() -> None:
        async with front_server() as front:
            for name in ("", *files):
                status, headers, body = await front.get(f"/{name}")
                assert status == 200
                assert body == files[name or "index.html"]
                assert headers["content-type"] == answers.MEDIA_TYPES[(name or "index.html").rpartition(".")[2]]
            policy = (await front.get("/"))[1]["content-security-policy"]
            assert "unsafe" not in policy
            assert "script-src 'self'" in policy

    asyncio.run(run())


async def metrics_of(front: RunningFront) -> dict[str, float]:
    status, headers, body = await front.get("/metrics")
    assert (status, headers["content-type"].split(";")[0]) == (200, "text/plain")
    return {
        sample.name + "".join(f"/{value}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def test_metrics_tell_what_has_happened() -> None:
    async def run() -> None:
        async with front_server(max_sessions=1) as front:
            async with front.session() as socket:
                await socket.send(bytes(960))
                num_bytes = num_fragments = 0
                while num_fragments < 30:
                    data = await socket.recv()
                    num_bytes += len(data) if isinstance(data, bytes) else 0
                    num_fragments += isinstance(data, bytes) and data != b"init"
                with pytest.raises(Exception, match="503"):
                    async with front.connect():
                        pass
                now = await metrics_of(front)
                assert now["musetalk_sessions"] == now["musetalk_sessions_opened_total"] == 1
                assert now["musetalk_audio_bytes_total"] == 960
                assert now["musetalk_refusals_total/full"] == 1
                assert now["musetalk_worker_processes"] == 3
                assert now["musetalk_frames_total"] >= 30
                await socket.send('{"type": "finish"}')
                await socket.wait_closed()
            await front.pool.sessions[0].is_over.wait()
            then = await metrics_of(front)
            assert then["musetalk_sessions"] == then["musetalk_viewers"] == 0
            assert then["musetalk_sessions_closed_total/finished"] == 1
            assert then["musetalk_video_bytes_total"] >= num_bytes
            assert then["musetalk_latency_seconds_count"] >= 1
            assert then["musetalk_latency_seconds_bucket/0.15"] == then["musetalk_latency_seconds_count"]
            assert then["musetalk_latency_seconds_bucket/0.1"] == 0

    asyncio.run(run())


def test_the_protocol_is_a_schema() -> None:
    async def run() -> None:
        async with front_server() as front:
            status, headers, body = await front.get("/v1/protocol.json")
            assert (status, headers["content-type"]) == (200, "application/json")
            assert json.loads(body) == describe_protocol()

    asyncio.run(run())


def test_the_log_has_a_line_for_each_request() -> None:
    async def run() -> None:
        async with front_server() as front:
            await front.get("/v1/avatars?a=b")
            await front.get("/healthz")
            await front.get("/v1/%0ainjected%1b[31m")
            lines = front.log.events("request")
            assert [line["path"] for line in lines] == ["/v1/avatars", "/v1/\ninjected\x1b[31m"]
            assert [line["status"] for line in lines] == [200, 404]
            await front.get("/main.js")
            await front.get("/nothing.js")
            assert [line["path"] for line in front.log.events("request")[2:]] == ["/nothing.js"]
            assert all(re.fullmatch(r"[ -~]+", line) for line in front.log.lines)

    asyncio.run(run())
