"""A command under test, and every process that it starts: which they are, and whether they are gone when it ends."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from fixtures.process_tree import children, command_line, descendants
from tools.campaign.faults.fork_server import ForkServer

MARK = "MUSETALK_CAMPAIGN"
GONE_S = 10.0  # after its parent, on a busy machine
POLL_S = 0.004
MUSETALK = (sys.executable, "-m", "musetalk_cli")
running: set[int] = set()  # commands that nobody has waited for yet
births = threading.Lock()  # held while one is being added


@dataclass(frozen=True)
class Member:
    """A process of the tree. ``role``: ``musetalk``, ``encoder``, ``decoder``, ``remuxer``, ``reaper`` or ``other``."""

    pid: int
    role: str


class End(NamedTuple):
    """How a command ended.

    ``code`` is negative for a signal, None where it was still running at the limit. ``seconds`` from the start to the
    end, ``wait_s`` from the last blow to it. ``struck``: what was done to it, in words. ``orphans``: command lines of
    what ran on without it. ``peak_mb`` is its own resident memory.
    """

    code: int | None
    stderr: str
    seconds: float
    wait_s: float
    peak_mb: float
    orphans: tuple[str, ...]
    struck: str = ""


@dataclass
class Command:
    """A command that runs in ``folder``; what it writes to stdout and stderr is in files of these names in ``logs``.

    With ``server`` it begins as a fork, all loaded; ``watched`` are then system calls, and the channel to ask.
    """

    args: Sequence[str]
    folder: Path
    logs: Path
    environment: dict[str, str]
    stdin: int | None = None
    preexec: Callable[[], None] | None = None
    server: ForkServer | None = None
    watched: tuple[Sequence[int], int] | None = None
    mark: str = field(default_factory=lambda: secrets.token_hex(8))

    def start(self) -> None:
        self.struck, self._struck_at, self.code, self._peak_mb = "", 0.0, None, 0.0
        self._child: subprocess.Popen[bytes] | None = None
        self._stderr = self.logs / "stderr"
        environment = {**self.environment, MARK: self.mark}
        read_fd, write_fd = os.pipe()
        with self._stderr.open("wb") as errors, Path(os.devnull).open("rb") as nothing:
            fds = (nothing.fileno() if self.stdin is None else self.stdin, write_fd, errors.fileno())
            with births:
                self.pid = self._begin(environment, fds)
                running.add(self.pid)
        os.close(write_fd)
        self._started_at = time.monotonic()
        self._reader = threading.Thread(target=self._read, args=(read_fd, self.logs / "stdout"), daemon=True)
        self._reader.start()

    def _begin(self, environment: dict[str, str], fds: tuple[int, int, int]) -> int:
        if self.server is not None:
            numbers, channel = self.watched or ((), -1)
            all_fds = fds if self.watched is None else (*fds, channel)
            return self.server.start(self.args[len(MUSETALK) :], self.folder, environment, all_fds, numbers)
        # What is not kept would be waited for by the next one that is started.
        self._child = subprocess.Popen(
            self.args,
            cwd=self.folder,
            env=environment,
            stdin=fds[0],
            stdout=fds[1],
            stderr=fds[2],
            start_new_session=True,
            preexec_fn=self.preexec,
        )
        return self._child.pid

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._started_at

    @property
    def is_running(self) -> bool:
        if self.code is None:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                running.discard(pid)
                self.code, self._peak_mb = os.waitstatus_to_exitcode(status), usage.ru_maxrss / 1024
                if self._child is not None:
                    self._child.returncode = self.code  # it need not wait, too
        return self.code is None

    def members(self) -> list[Member]:
        """All processes of it that live, the command itself first."""
        found = [Member(self.pid, "musetalk")] if self.is_running else []
        return found + [Member(pid, role_of(pid)) for pid in descendants(self.pid)]

    def say(self, words: str) -> None:
        """Note what has been done to it; the wait for its end counts from here."""
        self.struck = f"{self.struck}, {words}" if self.struck else words
        self._struck_at = time.monotonic()

    def send(self, pid: int, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    def wait(self, limit_s: float, bound_s: float) -> End:
        """Wait for the end: ``limit_s`` from the start, or ``bound_s`` from the last blow. Leaves no process behind."""
        while self.is_running and time.monotonic() < self._deadline(limit_s, bound_s):
            time.sleep(POLL_S * 2)
        is_over = not self.is_running
        ended_at = time.monotonic()
        orphans = self._wait_for_orphans() if is_over else []
        words = tuple(command_line(pid) for pid in orphans)
        self._kill_all()
        self._reader.join(5)
        return End(
            code=self.code if is_over else None,
            stderr=self._stderr.read_bytes().decode(errors="replace"),
            seconds=ended_at - self._started_at,
            wait_s=ended_at - self._struck_at if self._struck_at else 0.0,
            peak_mb=self._peak_mb if is_over else 0.0,
            orphans=words,
            struck=self.struck,
        )

    def _deadline(self, limit_s: float, bound_s: float) -> float:
        return self._struck_at + bound_s if self._struck_at else self._started_at + limit_s

    def _read(self, fd: int, path: Path) -> None:
        with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while data := os.read(fd, 1 << 16):
                file.write(data)
        os.close(fd)

    def _wait_for_orphans(self) -> list[int]:
        deadline = time.monotonic() + GONE_S
        while (left := marked(self.mark)) and time.monotonic() < deadline:
            time.sleep(0.02)
        return left

    def _kill_all(self) -> None:
        for _ in range(100):
            left = marked(self.mark)
            for pid in [*left, self.pid] if self.is_running else left:
                self.send(pid, signal.SIGKILL)
            reap_heirs()
            if not left and not self.is_running:
                return
            time.sleep(0.02)


def reap_heirs() -> None:
    """Wait for orphans that have ended: they come to us where a fork server runs. They are of other sessions."""
    with births:
        for pid in children(os.getpid()):
            with contextlib.suppress(OSError):
                is_over = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z")
                if is_over and pid not in running and os.getsid(pid) != os.getsid(0):
                    os.waitpid(pid, os.WNOHANG)


def marked(mark: str) -> list[int]:
    """Every living process with this mark in its environment, wherever it hangs in the tree."""
    wanted, found = f"{MARK}={mark}".encode(), []
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdecimal():
            with contextlib.suppress(OSError):
                if wanted in Path(f"/proc/{name}/environ").read_bytes():
                    found.append(int(name))
    return found


def role_of(pid: int) -> str:
    words = command_line(pid)
    if not words.partition(" ")[0].endswith("ffmpeg"):
        return "reaper" if words.startswith("/bin/sh") else "other"
    if "-f rawvideo" in words and "pipe:1" in words and "libx264" in words:
        return "encoder"
    if "-format_whitelist" in words or "-f wav" in words:
        return "decoder"
    return "remuxer" if "-c copy" in words else "other"
