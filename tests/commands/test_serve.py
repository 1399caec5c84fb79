"""``musetalk serve`` as a process: readiness, signals, exit codes, logs, and real sessions to their video."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from fixtures.serve_client import ServeClient
from fixtures.serve_process import ServeProcess
from fixtures.servers import nginx_proxy

ROOT = Path(__file__).parent.parent.parent
SMALL = ("--size", "96", "--max-sessions", "4", "--workers", "2")
RunCli = Callable[..., subprocess.CompletedProcess[bytes]]
TOKEN = "correct-horse-battery-staple"  # noqa: S105


@pytest.fixture(scope="module")
def server() -> Iterator[ServeProcess]:
    names = ("--allow-avatar", "nora", "--allow-avatar", "theo")  # whatever is prepared on this machine
    with ServeProcess(*SMALL, *names, "--log-format", "json") as running:
        yield running


def get(url: str, context: ssl.SSLContext | None = None) -> bytes:
    with urllib.request.urlopen(url, timeout=10, context=context) as answer:  # noqa: S310
        return answer.read()  # type: ignore[no-any-return]


def tone(duration_s: float, rate_hz: int = 16_000) -> np.ndarray[Any, Any]:
    return (8000 * np.sin(np.arange(int(duration_s * rate_hz)) * 0.1)).astype(np.int16)


def decode(data: bytes) -> dict[str, Any]:
    """What ffprobe says of an MP4 that ffmpeg decodes without a word."""
    checked = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", "-", "-f", "null", "-"], input=data, capture_output=True, check=True
    )
    assert checked.stderr == b""
    probe = ["ffprobe", "-v", "error", "-count_frames", "-show_streams", "-of", "json", "-i", "-"]
    streams = json.loads(subprocess.run(probe, input=data, capture_output=True, check=True).stdout)["streams"]
    return {stream["codec_name"]: stream for stream in streams}


@pytest.mark.needs("ffmpeg", "ffprobe")
def test_a_session_is_one_video(server: ServeProcess) -> None:
    with ServeClient(server.url, avatar="theo") as client:
        client.push(tone(0.6))
        client.send(type="finish")
        assert client.wait_closed() == 1000
        types = [each.type for each in client.received if each.type]
        assert types[0] == "ready"
        assert types.index("utterance_started") < types.index("utterance_finished")
        data = [each.data for each in client.received if each.data]
    streams = decode(b"".join(data))
    assert set(streams) == {"h264", "aac"}
    assert streams["h264"]["height"] == 96
    # The last fragment may have the end of the audio only.
    assert len(data) - 2 <= int(streams["h264"]["nb_read_frames"]) <= len(data) - 1


@pytest.mark.needs("ffmpeg", "ffprobe")
def test_a_viewer_sees_the_session_from_a_keyframe_on(server: ServeProcess) -> None:
    with ServeClient(server.url) as client:
        ready = client.received[client.wait_for("ready")].message
        client.wait_for_data(10)
        with urllib.request.urlopen(server.url + ready["viewers"], timeout=10) as answer:  # noqa: S310
            assert answer.headers["content-type"] == "video/mp4"
            data = b""
            while data.count(b"moof") < 20:
                data += answer.read1()
            client.send(type="finish")
            data += answer.read()
    streams = decode(data)
    assert int(streams["h264"]["nb_read_frames"]) >= 20


def test_the_readiness_line_and_the_log_are_json(server: ServeProcess) -> None:
    lines = [json.loads(line) for line in server.messages]
    ready = next(line for line in lines if line["event"] == "ready")
    assert ready["address"] == server.url + "/"
    assert (ready["avatars"], ready["model"], ready["max_sessions"]) == ("nora, theo", "warp", 4)


def test_avatars_have_thumbnails(server: ServeProcess) -> None:
    for avatar in json.loads(get(server.url + "/v1/avatars"))["avatars"]:
        assert get(server.url + avatar["thumbnail"]).startswith(b"\xff\xd8")


def test_a_session_goes_on_while_the_server_drains() -> None:
    with ServeProcess(*SMALL) as server, ServeClient(server.url) as client:
        client.wait_for_data(2)
        client.push(tone(0.5))
        server.child.send_signal(signal.SIGTERM)
        client.wait_for("draining")
        client.send(type="finish")
        assert client.wait_closed() == 1000
        client.wait_for("utterance_finished")
        assert server.child.wait(30) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once_and_leaves_nothing(number: signal.Signals) -> None:
    with ServeProcess(*SMALL) as server, ServeClient(server.url) as client:
        client.wait_for_data(2)
        processes = server.processes()
        server.child.send_signal(number)
        client.wait_for("draining")
        server.child.send_signal(number)
        assert client.wait_closed() == 1001
        assert server.child.wait(30) == 0
        assert [process for process in processes if is_alive(process)] == []


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE  # nobody reaps orphans in some containers
    except psutil.NoSuchProcess:
        return False


def test_a_signal_while_it_starts_ends_it(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "musetalk_cli", "serve", "--port", "0"], stderr=subprocess.PIPE, text=True
    )
    while not (children := psutil.Process(child.pid).children()):
        assert child.poll() is None
    child.send_signal(signal.SIGTERM)
    _, messages = child.communicate(timeout=30)
    assert "Traceback" not in messages
    assert children
    assert child.returncode == 0


WRONG: list[tuple[list[str], int, str]] = [
    (["--avatar", "nobody"], 1, "nobody"),
    (["--allow-avatar", "../nobody"], 1, "nobody"),
    (["--host", "0.0.0.0"], 1, "--token-file"),  # noqa: S104
    (["--host", "no.such.host.invalid"], 1, "cannot bind"),
    (["--token-file", "nowhere"], 2, "cannot read the token file"),
    (["--port", "70000"], 2, "--port"),
    (["--max-sessions", "0"], 2, "--max-sessions"),
    (["--allow-origin", "talk.example"], 2, "no origin"),
    (["--log-format", "xml"], 2, "--log-format"),
]


@pytest.mark.parametrize(("options", "exit_code", "words"), WRONG, ids=lambda value: str(value)[:40])
def test_what_cannot_start_says_why(options: list[str], exit_code: int, words: str, run_cli: RunCli) -> None:
    needs_token = ["--no-token"] if "invalid" in str(options) else []
    done = run_cli("serve", "--port", "0" if "--port" not in options else "1", *options, *needs_token)
    messages = done.stderr.decode()
    assert done.returncode == exit_code, messages
    assert words in messages
    assert "Traceback" not in messages


def test_a_port_in_use_is_said(run_cli: RunCli) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        done = run_cli("serve", "--port", port)
    assert done.returncode == 1
    assert f"port {port}" in done.stderr.decode()
    assert "--port" in done.stderr.decode()


def test_without_its_libraries_it_says_what_to_install(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "starlette.py").write_text("raise ModuleNotFoundError('gone', name='starlette')")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = run_cli("serve", env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 1
    assert "pip install" in done.stderr.decode()


def test_the_example_client_writes_a_video(server: ServeProcess, tmp_path: Path) -> None:
    output = tmp_path / "said.mp4"
    address = server.url.replace("http", "ws") + "/v1/session"
    command = [sys.executable, "examples/serve_client.py", "examples/hello.wav", str(output), address]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    assert "utterance_finished" in done.stderr
    assert b"moof" in output.read_bytes()


@pytest.mark.needs("nginx", "openssl")
def test_behind_nginx_as_documented(tmp_path: Path) -> None:
    """TLS, a WebSocket, a live video and a token through the block that docs/server.md shows."""
    block = re.findall(r"```nginx\n(.*?)```", (ROOT / "docs" / "server.md").read_text(), re.DOTALL)[0]
    token = tmp_path / "token"
    token.write_text(TOKEN)
    with ServeProcess(*SMALL, "--token-file", str(token)) as server:
        port = int(server.url.rpartition(":")[2])
        with nginx_proxy(tmp_path / "nginx", block, port) as (url, context):
            assert json.loads(get(f"{url}/healthz", context)) == {"status": "ok"}
            ready = asyncio.run(converse(url, context))
            assert ready["avatar"] == "nora"
    log = "".join(server.messages)
    assert TOKEN not in log
    assert ready["session"] not in log
    assert "client=127.0.0.1" in log
    assert "live.mp4" in log


async def converse(url: str, context: ssl.SSLContext) -> dict[str, Any]:
    """A session as a browser would have it, and a viewer of it."""
    shown = base64.urlsafe_b64encode(TOKEN.encode()).decode().rstrip("=")
    protocols = [Subprotocol("musetalk.v1"), Subprotocol(f"musetalk.token.{shown}")]
    async with connect(
        url.replace("https", "wss") + "/v1/session",
        subprotocols=protocols,
        ssl=context,
        origin=url,
        proxy=None,  # type: ignore[arg-type]
    ) as socket_:
        await socket_.send('{"type": "start"}')
        ready: dict[str, Any] = json.loads(await socket_.recv())
        assert isinstance(await socket_.recv(), bytes)
        begun = await asyncio.to_thread(read_begin, f"{url}{ready['viewers']}?token={TOKEN}", context)
        assert b"ftyp" in begun
        await socket_.send('{"type": "finish"}')
        async for _ in socket_:
            pass
        assert socket_.close_code == 1000
    return ready


def read_begin(url: str, context: ssl.SSLContext) -> bytes:
    with urllib.request.urlopen(url, timeout=10, context=context) as answer:  # noqa: S310
        return answer.read(2000)  # type: ignore[no-any-return]


def test_killed_workers_end_their_sessions_with_a_reason_and_the_server_goes_on(server: ServeProcess) -> None:
    with ServeClient(server.url) as first, ServeClient(server.url) as second:
        for client in (first, second):
            client.wait_for_data(2)
        for worker in psutil.Process(server.child.pid).children()[0].children():
            worker.kill()
        for client in (first, second):
            assert client.received[client.wait_for("error")].message["code"] == "session_failed"
            assert client.wait_closed() == 1011
    with ServeClient(server.url) as client:
        client.wait_for_data(2)


def test_a_killed_host_is_started_again_and_ends_no_session(server: ServeProcess) -> None:
    with ServeClient(server.url) as client:
        client.wait_for_data(2)
        psutil.Process(server.child.pid).children()[0].kill()
        client.wait_for_data(30, begin=len(client.received))
        while b"musetalk_worker_restarts 0.0" in get(server.url + "/metrics"):
            time.sleep(0.02)
        while True:
            time.sleep(0.02)
            with contextlib.suppress(urllib.error.HTTPError):  # 503 until it runs again
                get(server.url + "/healthz")
                break
        with ServeClient(server.url) as other:
            other.wait_for_data(2)


def test_nothing_outlives_a_killed_server() -> None:
    with ServeProcess(*SMALL) as server, ServeClient(server.url) as client:
        client.wait_for_data(2)
        processes = server.processes()
        server.kill()
        assert len(processes) >= 4
        while any(is_alive(process) for process in processes):
            time.sleep(0.02)
        assert client.wait_closed() == 1006


def test_every_line_of_the_log_was_an_object(server: ServeProcess) -> None:
    """Behind all of the above: sessions, refusals, killed workers and hosts."""
    events = [json.loads(line) for line in server.messages]
    assert {"ready", "session opened", "session closed"} <= {line["event"] for line in events}
    assert all({"time", "level", "event"} <= set(line) for line in events)
    assert [line for line in events if line["level"] == "error"] == []
