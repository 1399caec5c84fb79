"""How long the real command takes to its first frame, from nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO

from musetalk_cli.benchmark.workload.figures import Spread, StartFigures
from musetalk_cli.configuration.schema import Config
from musetalk_cli.engine.outputs.fragments import FragmentSplitter
from musetalk_cli.engine.runtime.ffmpeg import describe_status
from musetalk_cli.engine.types.messages import AUDIO_RATE_HZ, AudioArray
from musetalk_cli.errors import StageError

READ_BYTES = 1 << 16
LONG_S = 10.0  # a start that takes longer is not repeated


def measure_start(config: Config, audio: AudioArray, num_rounds: int) -> StartFigures:
    """Start ``musetalk stream`` with these settings up to ``num_rounds`` times, with ``audio`` on its stdin.

    Raises StageError when it fails.
    """
    firsts: list[float] = []
    peaks: list[float] = []
    while len(firsts) < num_rounds and (not firsts or firsts[-1] < LONG_S):
        first_s, rss_mb = _start_once(config, audio)
        firsts.append(first_s)
        peaks.append(rss_mb)
    return StartFigures(Spread.of(firsts), max(peaks) or None)


def _start_once(config: Config, audio: AudioArray) -> tuple[float, float]:
    with _as_file(config) as (settings_path, settings_fds):
        raw = ["--input", "-", "--format", "s16le", "--rate", str(AUDIO_RATE_HZ), "--no-pace", "-o", "-"]
        settings = ["--config", settings_path, "--no-user-config", "--quiet"]
        command = [sys.executable, "-m", "musetalk_cli", "stream", *raw, *settings]
        started_s = time.perf_counter()
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=settings_fds,
            bufsize=0,
        )
    said: deque[bytes] = deque(maxlen=1)
    drain = threading.Thread(target=said.extend, args=(_lines(child.stderr),), name="musetalk-fresh", daemon=True)
    drain.start()
    try:
        first_at, rss_mb = _feed_and_read(child, audio)
        child.wait()
        if child.returncode or first_at is None:
            drain.join()
            why = said[-1].decode("utf-8", "replace").strip() if said else describe_status(child.returncode)
            raise StageError(f"a fresh musetalk stream failed: {why}")
    finally:
        child.kill()
        child.wait()
        drain.join()
        for pipe in (child.stdin, child.stdout, child.stderr):
            if pipe:
                pipe.close()
    return first_at - started_s, rss_mb


def _lines(pipe: IO[bytes] | None) -> Iterator[bytes]:
    """Those that are not blank, as they come: a child whose stderr nobody reads stops when the pipe is full."""
    return (line for line in pipe or () if line.strip())


def _feed_and_read(child: subprocess.Popen[bytes], audio: AudioArray) -> tuple[float | None, float]:
    """Feed the audio and read the video to its end.

    Returns when the first frame was whole, by ``time.perf_counter()``, and the most memory that was held, in MB.
    """
    assert child.stdin and child.stdout  # noqa: S101 - both are pipes
    speaker = threading.Thread(target=_speak, args=(child.stdin, audio.tobytes()), name="musetalk-speaker", daemon=True)
    speaker.start()
    rss_mb, first_at, splitter = 0.0, None, FragmentSplitter()
    try:
        while data := os.read(child.stdout.fileno(), READ_BYTES):
            if any(part.num_frames for part in splitter.feed(data)):
                first_at = first_at or time.perf_counter()
            rss_mb = max(rss_mb, _rss_mb(child.pid))
    finally:
        child.stdout.close()
        speaker.join()
    return first_at, rss_mb


def _speak(pipe: IO[bytes], data: bytes) -> None:
    with suppress(BrokenPipeError), pipe:
        view = memoryview(data)
        while view:
            view = view[os.write(pipe.fileno(), view) :]


def _rss_mb(pid: int) -> float:
    """Of a process that runs; 0 when it has ended. What the system says at its end counts us in, who forked it."""
    import psutil

    with suppress(psutil.Error):
        return float(psutil.Process(pid).memory_info().rss) / 1e6
    return 0.0


@contextmanager
def _as_file(config: Config) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The settings as what ``--config`` reads, JSON being YAML, and the descriptors that belong to it. It is in a pipe,
    so that no file is left behind, or in a file on Windows, which passes no pipes on."""
    text = json.dumps(asdict(config)).encode()  # some 2 kB, which every pipe holds
    if sys.platform == "win32":
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "settings.yaml").write_bytes(text)
            yield str(Path(folder, "settings.yaml")), ()
        return
    read_fd, write_fd = os.pipe()
    try:
        with os.fdopen(write_fd, "wb") as pipe:
            pipe.write(text)
        yield f"/dev/fd/{read_fd}", (read_fd,)
    finally:
        os.close(read_fd)
