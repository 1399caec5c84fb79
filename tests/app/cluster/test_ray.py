"""Ray itself: worker processes on this machine, as a user starts them."""

from __future__ import annotations

import ipaddress
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from fixtures.fakes import tone
from fixtures.media import write_wav

pytest.importorskip("ray", reason="needs the extra ray")
pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(sys.platform == "win32", reason="Ray is for Linux and macOS"),
]
OPTIONS = ("-o", "out", "--report", "r.jsonl", "--size", "64", "--ray", "local", "--cpus-per-worker", "1")


def start(folder: Path, *args: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "musetalk_cli", "render", *args, *OPTIONS]
    environment = {**os.environ, "HOME": str(folder / "home"), "PYTHONPATH": str(Path(__file__).parents[3])}
    return subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    (tmp_path / "voices").mkdir()
    return tmp_path


def test_a_batch_on_worker_processes(folder: Path) -> None:
    for number in range(3):
        write_wav(folder / f"voices/v{number}.wav", tone(0.6 + 0.2 * number, 1))
    (folder / "voices/broken.wav").write_bytes(b"nothing of a wav")
    (folder / "list.csv").write_text(
        "voice,output\n" + "".join(f"voices/v{n}.wav,\n" for n in range(3)) + f"file://{folder}/voices/v0.wav,"
        f"file://{folder}/store/v.mp4\nvoices/broken.wav,\n"
        f"file://{folder}/voices/broken.wav,stored.mp4\n"
    )
    process = start(folder, "--manifest", "list.csv")
    _, said = process.communicate(timeout=200)
    assert process.returncode == 1, said.decode()
    records = {record["output"]: record for record in map(json.loads, (folder / "r.jsonl").read_text().splitlines())}
    assert "cannot be decoded" in records.pop("out/broken.mp4")["error"]
    # What is told of a copy names the original.
    assert f"file://{folder}/voices/broken.wav cannot be decoded" in records.pop("out/stored.mp4")["error"]
    assert {name: record["frames"] for name, record in records.items()} == {
        "out/v0.mp4": 15,
        "out/v1.mp4": 20,
        "out/v2.mp4": 25,
        f"file://{folder}/store/v.mp4": 15,
    }
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["v0.mp4", "v1.mp4", "v2.mp4"]
    assert (folder / "store/v.mp4").read_bytes() == (folder / "out/v0.mp4").read_bytes()


def test_a_signal_ends_all_processes_and_none_is_reached_elsewhere(folder: Path) -> None:
    write_wav(folder / "long.wav", tone(300, 1))
    process = start(folder, "long.wav")
    wait_for(lambda: list((folder / "out").glob(".long.part1.mp4")), process)
    family = psutil.Process(process.pid).children(recursive=True)
    words = [word for each in family if "raylet" in each.name() for word in each.cmdline()]
    (socket,) = [Path(word.partition("=")[2]) for word in words if word.startswith("--raylet_socket_name=")]
    assert socket.exists()
    addresses = [
        connection.laddr.ip
        for each in family
        if each.is_running()
        for connection in each.net_connections("tcp")
        if not connection.raddr  # a port that is open to others
    ]
    assert addresses
    assert [address for address in addresses if not is_loopback(address)] == []
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT, said.decode()
    assert b"stopping" in said
    assert list((folder / "out").iterdir()) == []
    _, alive = psutil.wait_procs(family, timeout=20)
    assert alive == []
    assert not socket.parents[2].exists()  # the folder of the cluster's logs and sockets


def is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.removeprefix("::ffff:")).is_loopback


def wait_for(condition: Callable[[], object], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 180
    while not condition() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
