"""Standard output as commands print to it: what was printed is written, or the command has failed."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from pathlib import Path

from musetalk_cli.errors import MuseTalkError, SinkError


def flush_stdout() -> None:
    """Write what is still in the buffer. Raises SinkError where that cannot be, BrokenPipeError when the reader has
    gone."""
    if sys.stdout is None or sys.stdout.closed:
        return
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _give_up(error) from None


def give_up_stdout() -> None:
    """Nothing that is left in its buffer fails once more at the very end."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def explain_system_error(error: OSError) -> MuseTalkError | None:
    """What a command's error says of where it runs: standard output or the working directory; None for any other."""
    if isinstance(error, FileNotFoundError) and not _has_working_directory():
        return MuseTalkError("the working directory is gone", hint="change to another, or give absolute paths")
    is_from_printing = traceback.extract_tb(error.__traceback__)[-1].name == "echo"  # typer's
    return _give_up(error) if is_from_printing else None


def _has_working_directory() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return False
    return True


def _give_up(error: OSError) -> SinkError:
    give_up_stdout()
    return SinkError(f"cannot write to standard output: {error.strerror}")
