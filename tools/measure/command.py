"""The real command as it is measured from outside: starting it, timing its bytes, and sampling what it takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil

from musetalk_cli.engine.outputs.fragments import FragmentSplitter
from musetalk_cli.engine.runtime.usage import find_family

COMMAND = (sys.executable, "-m", "musetalk_cli")
# As after any installation, the bytecode of what is started is kept. The user's own settings are not measured.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
ENVIRONMENT["MUSETALK_CONFIG"] = ""
READ_BYTES = 1 << 16


@dataclass(frozen=True)
class Arrival:
    """When a video came, by ``time.perf_counter()``: its first byte, and the last byte of each frame's fragment."""

    first_byte_s: float
    frames_s: list[float]


@dataclass(frozen=True)
class Sample:
    """Resident memory of the command and of its children, in 10⁶ bytes; the command's own threads and open files."""

    rss_mb: float
    children_mb: float
    num_threads: int
    num_files: int


def start(
    *arguments: object,
    program: tuple[str, ...] = COMMAND,
    environment: dict[str, str] = ENVIRONMENT,
    stdin: int | None = None,
    stdout: int | IO[bytes] | None = None,
) -> subprocess.Popen[bytes]:
    """Start ``musetalk`` with these arguments.

    Args:
        arguments: The subcommand and its options; each is turned into text.
        program: What to run in place of the installed command.
        environment: All of the child's environment.
        stdin: As for ``subprocess.Popen``; inherited by default.
        stdout: As for ``subprocess.Popen``; inherited by default.

    Returns:
        The running child, which the caller has to wait for.
    """
    command = [*program, *map(str, arguments)]
    return subprocess.Popen(command, stdin=stdin, stdout=stdout, env=environment)


def read_video(child: subprocess.Popen[bytes], is_begun: threading.Event | None = None) -> Arrival:
    """Read the video on the child's stdout to its end, and check that it has not failed.

    ``is_begun`` is set at the first byte.
    """
    splitter, left_at, first_byte_s = FragmentSplitter(), list[float](), 0.0
    for data in _chunks(child):
        first_byte_s = first_byte_s or time.perf_counter()
        if is_begun:
            is_begun.set()
        for part in splitter.feed(data):
            left_at += [time.perf_counter()] * part.num_frames
    assert child.wait() == 0, f"{child.args} failed"
    return Arrival(first_byte_s, left_at)


def time_start(*arguments: object) -> float:
    """Seconds from starting the command to the first byte of its video; the rest is not waited for."""
    started_s = time.perf_counter()
    with start(*arguments, stdout=subprocess.PIPE) as child:
        chunks = _chunks(child)
        is_there = next(chunks, None) is not None
        elapsed_s = time.perf_counter() - started_s
        child.terminate()
        for _ in chunks:
            pass
    assert is_there, f"{child.args} failed"
    return elapsed_s


def _chunks(child: subprocess.Popen[bytes]) -> Iterator[bytes]:
    assert child.stdout
    while data := os.read(child.stdout.fileno(), READ_BYTES):
        yield data


def sample_usage(
    child: subprocess.Popen[bytes], every_s: float, note: Callable[[Sample], None] = lambda sample: None
) -> list[Sample]:
    """Sample a running command until it ends, and check that it has not failed. ``note`` gets each sample at once."""
    samples: list[Sample] = []
    while True:
        try:
            assert child.wait(every_s) == 0, f"{child.args} failed"
            return samples
        except subprocess.TimeoutExpired:
            if sample := _sample(child.pid):
                samples.append(sample)
                note(sample)


def _sample(pid: int) -> Sample | None:
    """None when a process has ended meanwhile."""
    try:
        own, *children = find_family(pid)
        rss_mb, *others_mb = (process.memory_info().rss / 1e6 for process in (own, *children))
        return Sample(rss_mb, sum(others_mb), own.num_threads(), own.num_fds())
    except psutil.Error:
        return None


def read_stats(path: Path) -> list[dict[str, Any]]:
    """The records of a file that ``--stats`` wrote; the last one is that of the end."""
    return [json.loads(line) for line in path.read_text().splitlines()]
