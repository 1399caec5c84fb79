"""Runs whose machine sets its clock or sleeps end as if nothing had been; without their terminal they end properly."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from fixtures.media import packet_times
from fixtures.process_tree import descendants

TALK = (sys.executable, "-m", "musetalk_cli")
RENDER = (*TALK, "render")
STREAM = (*TALK, "stream", "-i")
# Python loads it itself when it starts. The jumps are of an hour, of a second, and of years.
JUMPING_CLOCK = """
import itertools, time
_now, _calls = time.time, itertools.count()
_jumps = (0, 3600, -3600, 1, -1e9, 1e9)
def jumping():
    return _now() + _jumps[next(_calls) % len(_jumps)]
time.time = jumping
time.time_ns = lambda: int(jumping() * 1e9)
"""
NUM_FRAMES = 25

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sends SIGSTOP")


@pytest.fixture
def voice(tone_wav: Callable[..., Path]) -> str:
    return str(tone_wav(NUM_FRAMES / 25))


@pytest.mark.parametrize("command", [RENDER, STREAM])
def test_a_clock_that_jumps_changes_nothing(command: tuple[str, ...], voice: str, tmp_path: Path, ffmpeg: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(JUMPING_CLOCK)
    paths = os.pathsep.join([str(tmp_path), *(path for path in sys.path if path)])
    line = [*command, voice, "-o", "o.mp4", "--size", "96"]
    environment = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert_steady(packet_times(ffmpeg, tmp_path / "o.mp4", "v"))


@pytest.mark.parametrize("command", [RENDER, STREAM])
def test_a_run_goes_on_after_a_sleep(command: tuple[str, ...], voice: str, tmp_path: Path, ffmpeg: str) -> None:
    line = [*command, voice, "-o", "o.mp4", "--size", "96"]
    with subprocess.Popen(line, cwd=tmp_path, stderr=subprocess.PIPE) as child:
        while child.poll() is None and not descendants(child.pid):
            time.sleep(0.01)
        asleep = [child.pid, *descendants(child.pid)]
        for number in (signal.SIGSTOP, signal.SIGCONT):
            for pid in asleep:
                send(pid, number)
            if number == signal.SIGSTOP:
                time.sleep(1.0)  # a sleep is what is tested
        errors = child.communicate(timeout=50)[1]
    assert child.returncode == 0, errors.decode()
    assert_steady(packet_times(ffmpeg, tmp_path / "o.mp4", "v"))


@pytest.mark.parametrize("command", [RENDER, STREAM])
def test_a_terminal_that_is_closed_ends_a_run_properly(
    command: tuple[str, ...], tone_wav: Callable[..., Path], tmp_path: Path, ffmpeg: str
) -> None:
    """The run is drawing on it, and what it draws then fails."""
    fcntl, termios = pytest.importorskip("fcntl"), pytest.importorskip("termios")
    ours, theirs = os.openpty()
    line = [*command, str(tone_wav(60.0)), "-o", "o.mp4", "--size", "512", "--no-user-config"]
    child = subprocess.Popen(
        line,
        cwd=tmp_path,
        env={**os.environ, "TERM": "xterm"},
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    try:
        shown = b""
        while b"60.0 s" not in shown and b"latency" not in shown:
            shown += os.read(ours, 65_536)
        video = tmp_path / "o.mp4"
        while not video.exists() or video.stat().st_size < 50_000:
            time.sleep(0.02)
    finally:
        os.close(ours)
        code = child.wait(30)
    assert code == 128 + signal.SIGHUP
    times_s = packet_times(ffmpeg, video, "v")
    assert 1 < len(times_s) < 1500


def assert_steady(times_s: list[float]) -> None:
    """All frames are there, each 40 ms after the one before. (ffmpeg moves the first one to the audio's begin.)"""
    assert len(times_s) == NUM_FRAMES
    assert [later - earlier for earlier, later in pairwise(times_s[1:])] == pytest.approx([0.04] * (NUM_FRAMES - 2))


def send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
