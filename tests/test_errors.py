"""What is said of a machine that refuses, and what stays a bug of ours."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from musetalk_cli.engine.runtime.stage import RunState
from musetalk_cli.errors import MachineError, StageError, as_machine_error

REFUSALS = (
    (OSError(errno.EMFILE, os.strerror(errno.EMFILE), "/a/b"), "too many open files: /a/b"),
    (OSError(errno.EIO, os.strerror(errno.EIO)), "input/output error"),
    (BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)), "resource temporarily unavailable"),
    (ModuleNotFoundError("No module named 'musetalk_cli.x'"), "cannot be loaded"),
    (MemoryError(), "memory"),
    (ImportError("/lib/x.so: failed to map segment from shared object"), "memory"),
    (OSError(errno.ESPIPE, os.strerror(errno.ESPIPE)), "illegal seek"),
    (ValueError("basic_filebuf::underflow error reading the file: Input/output error"), "input/output error"),
    (SystemError("error return without exception set"), "memory"),
    (SystemError("<built-in method read> returned NULL without setting an exception"), "memory"),
    (RuntimeError("can't start new thread"), "no more threads"),
)


@pytest.mark.parametrize("error, words", REFUSALS)
def test_a_machine_that_refuses_is_named_with_a_next_step(error: Exception, words: str) -> None:
    found = as_machine_error(error)
    assert found is not None
    assert words in str(found)
    assert found.hint


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EBADF, "Bad file descriptor"),
        FileNotFoundError(2, "x"),
        RuntimeError("odd"),
        SystemError("odd"),
        OSError(),
    ],
)
def test_what_may_be_our_bug_is_not_put_on_the_machine(error: Exception) -> None:
    assert as_machine_error(error) is None


def test_a_stage_that_gets_no_memory_is_no_bug() -> None:
    state = RunState()
    state.record("model", MemoryError())
    assert isinstance(state.error, MachineError)
    state = RunState()
    state.record("model", ValueError())
    assert isinstance(state.error, StageError)


@pytest.mark.parametrize("raised", ["MemoryError()", "OSError(24, 'Too many open files', '/x')"])
def test_a_command_says_it_in_one_line(tmp_path: Path, raised: str) -> None:
    code = (
        "from musetalk_cli import cli\n"
        f"def fail():\n    raise {raised}\n"
        "commands = {c.name: c for c in cli.app.registered_commands}\n"
        "commands['devices'].callback = fail\nimport sys; sys.argv = ['musetalk', 'devices']\ncli.run()"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1
    assert done.stderr.startswith("musetalk: error: the ")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir()), "a report of a bug"
