"""Open sessions of a real server and end them in thirteen ways, and see that nothing of them stays behind.

    python -m tools.campaign.server_sessions [--sessions 1000] [--at-once 3]

Sessions, processes, descriptors and memory of the server are compared with those after a first round of all ways. The
exit code is 1 where something has leaked. Only this machine is talked to.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import random
import secrets
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
from websockets.exceptions import ConnectionClosed, InvalidStatus

from fixtures.serve_client import ServeClient
from fixtures.serve_process import ServeProcess

TOKEN = secrets.token_hex(16)
FREE_S = 5.0  # a lost client's session is gone within
SLACK_S = 3.0  # of a busy machine
SETTLE_S = 20.0
SIZE = ("--size", "128")
MAX_GROWTH = 1.05
VOICE = (8_000 * np.sin(np.arange(32_000) * 0.17)).astype(np.int16)

KILLED = """
import os, sys
sys.path[:0] = os.environ["PATHS"].split(os.pathsep)
from fixtures.serve_client import ServeClient
client = ServeClient(sys.argv[1], headers={"Authorization": sys.argv[2]})
client.wait_for_data(3)
print("ready", flush=True)
client.wait_closed(60)
"""


class Held(NamedTuple):
    """What the server holds."""

    num_sessions: int
    num_processes: int
    num_descriptors: int
    resident_mb: float


def open_client(url: str) -> ServeClient:
    client = ServeClient(url, headers={"Authorization": f"Bearer {TOKEN}"})
    client.wait_for_data(2)
    return client


def close(url: str, moments: random.Random) -> None:
    with open_client(url) as client:
        client.push(VOICE)
        time.sleep(moments.uniform(0, 0.5))


def finish(url: str, moments: random.Random) -> None:
    with open_client(url) as client:
        client.push(VOICE[:16_000])
        client.send(type="finish")
        assert client.wait_closed() in (1000, 1011)  # 1011: another way has killed its worker


def cut_off(url: str, moments: random.Random) -> None:
    """The connection is reset, as by a machine that has crashed and come back."""
    client = open_client(url)
    client.push(VOICE)
    time.sleep(moments.uniform(0, 0.3))
    client.connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.connection.socket.close()


def half_open(url: str, moments: random.Random) -> None:
    """Nothing comes from the client any more, and nothing is read: it answers no ping."""
    with shake_hands(url) as raw:
        raw.sendall(masked(json.dumps({"type": "start"}).encode(), 1))
        raw.recv(1 << 16)
        time.sleep(FREE_S + SLACK_S)


def killed_client(url: str, moments: random.Random) -> None:
    command = [sys.executable, "-c", KILLED, url, f"Bearer {TOKEN}"]
    environment = {**os.environ, "PATHS": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as child:
        assert child.stdout
        child.stdout.readline()
        time.sleep(moments.uniform(0, 0.2))
        child.kill()


def killed_worker(url: str, moments: random.Random) -> None:
    """One worker dies; whichever client had it is told so."""
    client = open_client(url)
    workers = [
        each for each in psutil.process_iter(["cmdline"]) if "worker.host" in " ".join(each.info["cmdline"] or [])
    ]
    with contextlib.suppress(psutil.NoSuchProcess):
        workers = [each for each in workers if "worker.host" in " ".join(each.parent().cmdline())]
        moments.choice(workers).kill()
    time.sleep(0.2)
    client.close()


def garbage(url: str, moments: random.Random) -> None:
    client = open_client(url)
    try:
        for _ in range(50):
            client.connection.send(moments.randbytes(moments.randrange(1, 99)).hex())
        client.wait_closed()
    except ConnectionClosed:
        client.wait_closed()


def flood(url: str, moments: random.Random) -> None:
    """Far more voice than a session holds, as fast as it goes."""
    client = open_client(url)
    with contextlib.suppress(ConnectionClosed):
        for _ in range(400):
            client.push(np.tile(VOICE, 16))
    client.connection.close()
    client.wait_closed()


def slow_reader(url: str, moments: random.Random) -> None:
    with shake_hands(url) as raw, contextlib.suppress(OSError):
        raw.sendall(masked(json.dumps({"type": "start"}).encode(), 1))
        deadline = time.monotonic() + FREE_S + SLACK_S
        while time.monotonic() < deadline and raw.recv(500):
            time.sleep(0.1)


def reload_page(url: str, moments: random.Random) -> None:
    for _ in range(2):
        client = open_client(url)
        client.connection.socket.shutdown(socket.SHUT_RDWR)
        client.close()


def wrong_token(url: str, moments: random.Random) -> None:
    with contextlib.suppress(InvalidStatus):
        ServeClient(url, headers={"Authorization": "Bearer wrong"}).close()
        raise AssertionError("a wrong token was taken")


def over_the_limit(url: str, moments: random.Random) -> None:
    """As many as get in, and some more."""
    clients = []
    with contextlib.suppress(InvalidStatus, EOFError):
        for _ in range(12):
            clients.append(open_client(url))
    for client in clients:
        client.close()


def end_of_server(url: str, moments: random.Random) -> None:
    """SIGTERM of another server, while a session speaks: it drains, and nothing of it stays."""
    with ServeProcess(*SIZE, "--workers", "1", "--max-sessions", "2") as server:
        processes = server.processes()
        client = ServeClient(server.url)
        client.wait_for_data(2)
        client.send(type="finish")
        assert server.stop(moments.choice([signal.SIGTERM, signal.SIGINT])) == 0
        assert client.wait_closed() in (1000, 1001)
        left = [each for each in processes if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
        assert not left, f"the server left {left}"


WAYS: list[Callable[[str, random.Random], None]] = [
    close,
    finish,
    cut_off,
    half_open,
    killed_client,
    killed_worker,
    garbage,
    flood,
    slow_reader,
    reload_page,
    wrong_token,
    over_the_limit,
    end_of_server,
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--at-once", type=int, default=3, help="ways that are gone at a time")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        token = Path(folder) / "token"
        token.write_text(TOKEN)
        token.chmod(0o600)
        # A client may take all sessions of the server: those of this campaign come from one address.
        limits = ("--max-sessions", str(2 * args.at_once + 2), "--token-file", str(token))
        settings = Path(folder) / "limits.yaml"
        settings.write_text(f"serve:\n  max_sessions_per_client: {2 * args.at_once + 2}\n")
        with ServeProcess(*SIZE, *limits, "--config", str(settings)) as server:
            return run(server, args.sessions, args.at_once)


def run(server: ServeProcess, num_sessions: int, at_once: int) -> int:
    moments, begin = random.Random(0), time.monotonic()
    go(server, WAYS * 2, at_once, moments)
    before = settle(server, None)
    print(f"before: {before}", flush=True)
    failed: Counter[str] = Counter()
    for first in range(0, num_sessions, 100):
        ways = [WAYS[(first + index) % len(WAYS)] for index in range(min(100, num_sessions - first))]
        failed += go(server, ways, at_once, moments)
        print(f"{first + len(ways)} sessions, {time.monotonic() - begin:.0f} s: {settle(server, before)}", flush=True)
    after = settle(server, before)
    tracebacks = sum("Traceback" in line for line in server.messages)
    print(f"after: {after}; {sum(failed.values())} failed {dict(failed)}; {tracebacks} tracebacks")
    grown = after.resident_mb / before.resident_mb
    is_clean = after[:2] == before[:2] and after.num_descriptors <= before.num_descriptors and grown <= MAX_GROWTH
    print(f"{'nothing' if is_clean else 'something'} has stayed behind; memory × {grown:.3f}")
    return 0 if is_clean and not failed and not tracebacks else 1


def go(
    server: ServeProcess, ways: list[Callable[[str, random.Random], None]], at_once: int, moments: random.Random
) -> Counter[str]:
    """Go these ways, several at a time; how often each has failed."""
    failed: Counter[str] = Counter()
    seeds = [moments.randrange(1 << 30) for _ in ways]

    def go_one(way: Callable[[str, random.Random], None], seed: int) -> None:
        try:
            way(server.url, random.Random(seed))
        except (EOFError, ConnectionClosed, InvalidStatus, OSError):
            pass  # another's killed worker, or the limit that others have reached
        except Exception as error:
            failed[f"{way.__name__}: {type(error).__name__}: {error}"[:200]] += 1

    with ThreadPoolExecutor(at_once) as executor:
        list(executor.map(go_one, ways, seeds))
    return failed


def settle(server: ServeProcess, wanted: Held | None) -> Held:
    """What is held once all sessions have gone and the spare workers are back, or after some seconds."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        held = measure_held(server)
        is_there = held.num_sessions == 0 and (wanted is None or held[:3] <= wanted[:3])
        if is_there or time.monotonic() > deadline:
            return held
        time.sleep(0.5)


def measure_held(server: ServeProcess) -> Held:
    with contextlib.closing(HTTPConnection(server.url.split("/")[2], timeout=10)) as connection:
        connection.request("GET", "/v1/status", headers={"Authorization": f"Bearer {TOKEN}"})
        status = json.load(connection.getresponse())
    processes = server.processes()
    lasting = processes[:2]  # the server and the host; the workers live for a session each
    return Held(
        status["sessions"],
        len(processes),
        sum(each.num_fds() for each in lasting),
        sum(each.memory_info().rss for each in lasting) / 1e6,
    )


def shake_hands(url: str) -> socket.socket:
    """A WebSocket of which we say every byte ourselves."""
    host, port = url.split("//")[1].rstrip("/").rsplit(":", 1)
    raw = socket.create_connection((host, int(port)), timeout=30)
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [
        "GET /v1/session HTTP/1.1",
        f"Host: {host}:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: musetalk.v1",
        f"Authorization: Bearer {TOKEN}",
    ]
    raw.sendall("\r\n".join([*lines, "", ""]).encode())
    raw.recv(1 << 12)
    return raw


def masked(data: bytes, opcode: int) -> bytes:
    """One short frame from a client (RFC 6455, 5.2), with a mask of zeros."""
    assert len(data) < 126
    return bytes([0x80 | opcode, 0x80 | len(data)]) + bytes(4) + data


if __name__ == "__main__":
    sys.exit(main())
