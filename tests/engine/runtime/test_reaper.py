from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil
import pytest

from musetalk_cli.engine.runtime.reaper import Reaper

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")

# Starts two children as ffmpeg is started, waits for one, forks where it is asked to, and waits to be killed.
PARENT = """
import os, subprocess, sys, time
from musetalk_cli.engine.runtime.ffmpeg import FfmpegProcess
silent = FfmpegProcess(["sleep", "60"], stdin=subprocess.DEVNULL)
ended = FfmpegProcess(["true"], stdin=subprocess.DEVNULL)
ended.wait()
if sys.argv[1] == "forks" and os.fork() == 0:
    time.sleep(60)
print(silent._child.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("forks", ["forks", "alone"])
def test_no_child_outlives_a_parent_that_was_killed(forks: str) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, forks], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    fork = next((each for each in psutil.Process(parent.pid).children() if "python" in each.name().lower()), None)
    assert (fork is not None) == (forks == "forks")
    try:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        child.wait(10)
    finally:
        if fork:
            fork.kill()
        parent.stdout.close()


# Runs a program to its end, as a probe or the trial of ffmpeg is, and says so once it is watched.
RUNNING = """
from musetalk_cli.engine.runtime import ffmpeg
def add(pid, real=ffmpeg.reaper.add):
    real(pid)
    print(pid, flush=True)
ffmpeg.reaper.add = add
ffmpeg.run_watched(["sleep", "60"], data=b"")
"""


def test_a_program_that_is_run_to_its_end_does_not_outlive_us_either() -> None:
    with subprocess.Popen([sys.executable, "-c", RUNNING], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)
        child.wait(10)


def test_the_shell_is_there_only_while_a_child_is() -> None:
    before = set(psutil.Process().children())
    reaper, child = Reaper(), subprocess.Popen(["sleep", "60"])
    reaper.add(child.pid)
    shells = [each for each in psutil.Process().children() if each not in before and each.pid != child.pid]
    assert len(shells) == 1
    child.kill()
    child.wait()
    reaper.remove(child.pid)
    assert not shells[0].is_running()
    reaper.remove(child.pid)  # twice does nothing


def test_a_child_that_has_ended_is_not_killed_under_its_number() -> None:
    reaper = Reaper()
    ended, other = (subprocess.Popen(["sleep", "60"]) for _ in range(2))
    try:
        reaper.add(ended.pid)
        reaper.add(other.pid)
        reaper.remove(ended.pid)  # from now on its number may be anybody's
        shell = reaper._shell
        assert shell is not None
        assert shell.stdin is not None
        shell.stdin.close()  # as our own end does
        assert shell.wait(10) == 0
        assert other.wait(10) == -signal.SIGKILL
        assert ended.poll() is None
    finally:
        for child in (ended, other):
            child.kill()
            child.wait()


def test_without_a_shell_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("musetalk_cli.engine.runtime.reaper._SHELL", "/nonexistent/sh")
    reaper = Reaper()
    reaper.add(os.getpid())
    reaper.remove(os.getpid())
