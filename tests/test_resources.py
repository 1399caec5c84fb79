"""What each command may hold at a time, as docs/reliability.md states it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest

from fixtures.clips import portrait_image
from fixtures.fakes import tone
from fixtures.media import write_wav
from fixtures.process_tree import Peak, measure_peak
from fixtures.serve_client import ServeClient
from fixtures.serve_process import ServeProcess
from musetalk_cli.engine.avatar.preparation.face_models import FaceModels

DOCUMENT = Path(__file__).parents[1] / "docs" / "reliability.md"
CORES = os.cpu_count() or 1
NUM_SESSIONS = 2

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def stated(command: str) -> Peak:
    """The row of a command; threads are those and one for each core."""
    row = re.search(rf"^\| `{re.escape(command)}` \|(.*)\|$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    assert row, f"docs/reliability.md has no row for {command}"
    memory_mb, num_threads, num_descriptors, num_children = (int(cell) for cell in row[1].split("|"))
    return Peak(memory_mb, num_threads + CORES, num_descriptors, num_children)


def assert_within(measured: Peak, bound: Peak) -> None:
    over = [name for name, value in vars(measured).items() if value > getattr(bound, name)]
    assert over == [], f"{measured} is over {bound}"
    assert measured.num_threads, "nothing was measured"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    write_wav(tmp_path / "voice.wav", tone(2.0))
    cv2.imwrite(str(tmp_path / "me.png"), portrait_image(768))
    return tmp_path


COMMANDS = {
    "render": ["render", "voice.wav", "-o", "o.mp4"],
    "stream": ["stream", "-i", "voice.wav", "--no-pace", "-o", "o.mp4", "-o", "live/", "-o", "o.mkv"],
    "prepare-avatar": ["prepare-avatar", "me.png", "--name", "me"],
    "bench": ["bench", "--seconds", "0.2", "--rounds", "1", "--size", "128", "--json"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_holds_no_more_than_is_stated(command: str, work: Path, face_models: FaceModels) -> None:
    environment = {**os.environ, "MUSETALK_HOME": str(work / "home")}
    environment["MUSETALK_FACE_MODELS"] = str(face_models.mesh.parent)
    line = [sys.executable, "-m", "musetalk_cli", *COMMANDS[command]]
    peak, child = measure_peak(
        line, 55, cwd=work, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    assert child.returncode == 0
    assert_within(peak, stated(command))


@pytest.fixture
def server() -> Iterator[ServeProcess]:
    with ServeProcess("--size", "128", "--max-sessions", str(NUM_SESSIONS)) as process:
        yield process


def test_a_server_holds_no_more_than_is_stated_for_its_sessions(server: ServeProcess) -> None:
    idle, session = stated("serve"), stated("serve, each session")
    clients = [ServeClient(server.url) for _ in range(NUM_SESSIONS)]
    for client in clients:
        client.push((8_000 * np.sin(np.arange(32_000) * 0.17)).astype(np.int16))
        client.wait_for_data(5)
    whole = sum_up(server.processes())
    for client in clients:
        client.close()
    for name, value in vars(whole).items():
        limit = getattr(idle, name) + NUM_SESSIONS * getattr(session, name)
        assert value <= limit, f"{name}: {value}, and {limit} are stated"


def sum_up(processes: list[psutil.Process]) -> Peak:
    """What several processes hold together; the first one is the parent of all."""
    whole = Peak(num_children=len(processes) - 1)
    for process in processes:
        with process.oneshot():
            whole.memory_mb += process.memory_info().rss / 1e6
            whole.num_threads += process.num_threads()
            whole.num_descriptors += process.num_fds()
    return whole
