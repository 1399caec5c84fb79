"""How long the real command takes to its first picture, from nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import IO

from musetalk_cli.benchmark.figures import Spread, StartFigures
from musetalk_cli.benchmark.workload import PictureClock
from musetalk_cli.config import Config
from musetalk_cli.engine.messages import SOUND_RATE_HZ, SoundArray
from musetalk_cli.errors import StageError

READ_BYTES = 1 << 16
LONG_S = 10.0  # a start that takes longer is not repeated


def measure_start(config: Config, sound: SoundArray, num_rounds: int) -> StartFigures:
    """Start ``musetalk stream`` with these settings up to ``num_rounds`` times, with ``sound`` on its stdin.

    Raises StageError when it fails.
    """
    firsts, peaks = [], []
    while len(firsts) < num_rounds and (not firsts or firsts[-1] < LONG_S):
        first_s, rss_mb = _start_once(config, sound)
        firsts.append(first_s)
        peaks.append(rss_mb)
    return StartFigures(Spread.of(firsts), max(peaks))


def _start_once(config: Config, sound: SoundArray) -> tuple[float, float]:
    clock = PictureClock()
    with _as_file(config) as settings_fd:
        raw = ["--input", "-", "--format", "s16le", "--rate", str(SOUND_RATE_HZ), "--no-pace", "-o", "-"]
        settings = ["--config", f"/dev/fd/{settings_fd}", "--quiet"]
        command = [sys.executable, "-m", "musetalk_cli", "stream", *raw, *settings]
        started_s = time.perf_counter()
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(settings_fd,),
            bufsize=0,
        )
    try:
        _listen(child, sound, clock)
        rss_mb = _reap(child)
        if child.returncode or not clock.times_s:
            said = child.stderr.read().decode("utf-8", "replace").strip().splitlines() if child.stderr else []
            raise StageError(f"a fresh musetalk stream failed: {said[-1] if said else child.returncode}")
    finally:
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout, child.stderr):
            if pipe:
                pipe.close()
    return clock.times_s[0] - started_s, rss_mb


def _listen(child: subprocess.Popen[bytes], sound: SoundArray, clock: PictureClock) -> None:
    """Feed the sound and read the video to its end."""
    assert child.stdin and child.stdout  # noqa: S101 - both are pipes
    speaker = threading.Thread(target=_speak, args=(child.stdin, sound.tobytes()), name="musetalk-speaker", daemon=True)
    speaker.start()
    try:
        while data := os.read(child.stdout.fileno(), READ_BYTES):
            clock.write(data)
    finally:
        child.stdout.close()
        speaker.join()


def _speak(pipe: IO[bytes], data: bytes) -> None:
    with suppress(BrokenPipeError), pipe:
        view = memoryview(data)
        while view:
            view = view[os.write(pipe.fileno(), view) :]


def _reap(child: subprocess.Popen[bytes]) -> float:
    """Wait for the end; the most memory that it, or one of its own children, has held, in MB."""
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


@contextmanager
def _as_file(config: Config) -> Iterator[int]:
    """The settings as what ``--config`` reads, in a pipe: JSON is YAML, and no file is left behind."""
    read_fd, write_fd = os.pipe()
    try:
        with os.fdopen(write_fd, "wb") as pipe:
            pipe.write(json.dumps(asdict(config)).encode())  # some 2 kB, which every pipe holds
        yield read_fd
    finally:
        os.close(read_fd)
