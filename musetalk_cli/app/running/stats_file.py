"""``--stats``: a run's figures as JSON lines, in a file, a pipe or on standard output. They never hold the run up."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from musetalk_cli.errors import SinkError, system_words
from musetalk_cli.system import pipes

if TYPE_CHECKING:
    from musetalk_cli.engine.runtime.stats import Snapshot
    from musetalk_cli.engine.types.messages import Tell

STATS_INTERVAL_S = 1.0
LAST_S = 0.3  # how long a reader may let the last line wait
FIRST_KEY = b'{"event": '  # that statistics begin with
STDOUT_NAMES = ("-", "/dev/stdout", "/dev/fd/1")


def is_stdout(name: str | Path) -> bool:
    """Whether a name stands for standard output."""
    return str(name) in STDOUT_NAMES


def check_stdout(outputs: Sequence[str], stats: Path | None, *, as_json: bool = False) -> None:
    """Raise SinkError where more than one of the video, ``--stats`` and ``--json`` would go to standard output."""
    taken = [
        name
        for name, is_there in (
            ("the video", any(is_stdout(output) for output in outputs)),
            ("--stats", stats is not None and is_stdout(stats)),
            ("--json", as_json),
        )
        if is_there
    ]
    if len(taken) > 1:
        hint = "name a file for the video with -o" + (", or one with --stats" if "--stats" in taken else "")
        raise SinkError(f"{' and '.join(taken)} cannot both go to standard output", hint=hint)


def open_stats(path: Path | None, tell: Tell, *, overwrite: bool) -> StatsFile | None:
    """What ``--stats`` names, if anything; ``tell`` takes a warning for the user. Raises SinkError."""
    return StatsFile(path, tell, overwrite=overwrite) if path else None


def is_on_terminal(stats: StatsFile | None) -> bool:
    """Whether the lines go to a terminal, where a display that is drawn would be torn apart by them."""
    return stats is not None and stats.is_on_terminal


class StatsFile:
    """One JSON line a second, what the run takes of the machine included, and a last one marked ``"event": "end"``. The
    file is created with the first line.

    Raises SinkError when it cannot be, or exists and may not be replaced, as what holds no statistics never may.
    """

    def __init__(self, path: Path, tell: Tell, *, overwrite: bool) -> None:
        from musetalk_cli.engine.runtime.usage import UsageMeter

        if not is_stdout(path):
            _check(path, overwrite)
        self.is_on_terminal = is_stdout(path) and sys.stdout is not None and sys.stdout.isatty()
        self._name = "standard output" if is_stdout(path) else str(path)
        self._tell = tell
        self._lines = _Lines(path)
        self._is_given_up = False
        self._usage = UsageMeter()
        self._next_at = time.perf_counter() + STATS_INTERVAL_S

    def note(self, snapshot: Snapshot, *, is_last: bool = False) -> None:
        """Write a line if it is time for one. Statistics that cannot be written are given up, not the video."""
        now = time.perf_counter()
        if self._is_given_up or not (is_last or now >= self._next_at):
            return
        self._next_at = now + STATS_INTERVAL_S
        event, usage = "end" if is_last else "tick", self._usage.read().as_record()
        line = json.dumps({"event": event, **snapshot.as_record(), "usage": usage})
        try:
            self._lines.write(line, LAST_S if is_last else 0)
        except OSError as error:
            self._tell(f"musetalk: warning: no more statistics in {self._name}: {system_words(error)}")
            self._is_given_up = True

    def close(self) -> None:
        self._lines.close()


def _check(path: Path, overwrite: bool) -> None:
    if path.is_file() and not overwrite:
        raise SinkError(f"{path} exists already", hint="name another file with --stats, or --overwrite")
    if not path.parent.is_dir() or path.is_dir():
        raise SinkError(f"cannot write the statistics {path}", hint="name a file in a folder that is there")
    if path.is_file() and not _is_stats(path):
        raise SinkError(f"{path} exists and holds no statistics", hint="name another file with --stats")


def _is_stats(path: Path) -> bool:
    """Whether a file holds statistics or nothing; an avatar or settings would be lost."""
    try:
        with path.open("rb") as file:
            return FIRST_KEY.startswith(file.read(len(FIRST_KEY)))
    except OSError:  # writing it fails with a reason
        return True


class _Lines:
    """Lines for a file or a pipe. A pipe without a reader, or with one that does not keep up, is left lines out."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_own = not is_stdout(path)
        self._fd: int | None = None
        self._waits = False  # for a reader, as a pipe does
        self._rest = b""  # of a line that has begun

    def write(self, line: str, timeout_s: float) -> None:
        """Write a line whole or not at all, waiting for a reader no longer than ``timeout_s``. Raises OSError."""
        deadline = time.monotonic() + timeout_s
        self._push(deadline)
        if not self._rest and self._open():
            self._rest = f"{line}\n".encode()
            self._push(deadline)

    def close(self) -> None:
        if self._fd is not None and self._is_own:
            with contextlib.suppress(OSError):  # told already
                os.close(self._fd)
        self._fd = None

    def _open(self) -> bool:
        if self._fd is None:
            try:
                self._fd = self._open_path() if self._is_own else sys.stdout.fileno()
            except OSError as error:
                if error.errno == errno.ENXIO:  # a pipe that nobody reads yet
                    return False
                raise
            mode = os.fstat(self._fd).st_mode
            self._waits = not (stat.S_ISREG(mode) or stat.S_ISCHR(mode))
        return True

    def _open_path(self) -> int:
        is_pipe = self._path.is_fifo()
        flags = os.O_WRONLY | getattr(os, "O_NONBLOCK", 0) if is_pipe else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        return os.open(self._path, flags, 0o666)

    def _push(self, deadline: float) -> None:
        while self._rest and self._fd is not None:
            wait_s = max(0.0, deadline - time.monotonic())
            if self._waits and not pipes.wait_writable(self._fd, wait_s):
                return
            step, rest = self._rest[: pipes.STEP_BYTES], self._rest[pipes.STEP_BYTES :]
            with contextlib.suppress(BlockingIOError):
                self._rest = bytes(pipes.write_some(self._fd, memoryview(step))) + rest
