"""Runs other programs, Python ones too, for a limited time: what crashes or hangs there does so alone."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import musetalk_cli
from musetalk_cli.errors import system_words

# A child finds the package where we found it, and nothing in the current folder.
PATH_SETUP = f"import sys; sys.path[0] = {str(Path(musetalk_cli.__file__).parent.parent)!r}\n"
_running: set[subprocess.Popen[bytes]] = set()
_lock = threading.Lock()
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ended:
    """How a program ended. ``status`` is None where it did not start or was stopped; then ``problem`` says why."""

    status: int | None
    stdout: bytes
    stderr: str
    problem: str = ""

    @property
    def is_good(self) -> bool:
        return self.status == 0

    @property
    def reason(self) -> str:
        """Why it is not good: our words where it did not run, its own last line, or its exit status."""
        lines = [line.strip() for line in self.stderr.splitlines() if line.strip()]
        return self.problem or (lines[-1] if lines else describe_exit(self.status))


def run_program(argv: Sequence[str], limit_s: float) -> Ended:
    """Run a program without input; it and its children are killed after ``limit_s`` seconds. Raises nothing."""
    started_at = time.monotonic()
    done = _run(argv, limit_s)
    if log.isEnabledFor(logging.INFO):
        log.info("%s: %s, %.3f s", shlex.join(argv), done.problem or describe_exit(done.status), _since(started_at))
        if not done.is_good:
            log.info("it wrote: %s", done.stderr)
    return done


def _run(argv: Sequence[str], limit_s: float) -> Ended:
    try:
        child = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            cwd=None if _has_folder() else os.path.abspath(os.sep),  # noqa: PTH100 - the root, without asking where we are
        )
    except (OSError, ValueError) as error:
        return Ended(None, b"", "", f"cannot start: {system_words(error)}")
    with _lock:
        _running.add(child)
    try:
        stdout, stderr = child.communicate(timeout=limit_s)
        return Ended(child.returncode, stdout, stderr.decode("utf-8", "replace"))
    except subprocess.TimeoutExpired:
        return Ended(None, b"", "", f"no answer within {limit_s:.0f} s")
    finally:
        _end(child)


def run_python(code: str, limit_s: float, *arguments: str) -> Ended:
    """Run Python code in a process of its own, with this package at hand and ``arguments`` in ``sys.argv[1:]``."""
    return run_program([sys.executable, "-c", PATH_SETUP + code, *arguments], limit_s)


def ask_python(code: str, limit_s: float) -> tuple[Any, str]:
    """What the code prints as JSON in its last line, and an empty reason; or None, and why there is nothing."""
    done = run_python(code, limit_s)
    try:
        return (json.loads(done.stdout.decode("utf-8", "replace").splitlines()[-1]), "") if done.is_good else _no(done)
    except (ValueError, IndexError):
        return None, "it gave no answer"


def kill_programs() -> None:
    """End all that still run, such as those of a check that was given up."""
    with _lock:
        running = list(_running)
    for child in running:
        _kill(child)


def describe_exit(status: int | None) -> str:
    """``exit status 3``, or the signal that ended it."""
    if status is None or status >= 0:
        return f"exit status {status}"
    with contextlib.suppress(ValueError):
        return f"killed by {signal.Signals(-status).name}"
    return f"killed by signal {-status}"


def _since(started_at: float) -> float:
    return time.monotonic() - started_at


def _no(done: Ended) -> tuple[None, str]:
    return None, done.reason


def _end(child: subprocess.Popen[bytes]) -> None:
    _kill(child)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(1)
    for pipe in (child.stdout, child.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    with _lock:
        _running.discard(child)


def _kill(child: subprocess.Popen[bytes]) -> None:
    """The whole session: what a script started holds its pipes."""
    with contextlib.suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()


def _has_folder() -> bool:
    """Whether the current folder is still there; without it, Python does not start everywhere."""
    try:
        return Path.cwd().is_dir()
    except OSError:
        return False
