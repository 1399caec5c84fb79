"""Standard output as commands print to it: what was printed is written, or the command has failed."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import traceback
from pathlib import Path

from musetalk_cli.errors import MuseTalkError, SinkError, as_machine_error, system_words
from musetalk_cli.system.pipes import has_lost_reader

# Of the system or of a path that the user named, wherever they arise.
REASONS = {
    getattr(errno, name, None)
    for name in (
        *("EACCES", "EBUSY", "EDQUOT", "EFBIG", "EIO", "EISDIR", "ELOOP", "EMFILE", "ENAMETOOLONG", "ENFILE", "ENODEV"),
        *("ENOMEM", "ENOSPC", "ENOTDIR", "ENXIO", "EPERM", "EROFS", "ESTALE", "ETXTBSY"),
    )
} - {None}
LONGEST_NAME = 200


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


def is_stdout_left() -> bool:
    """Whether whoever read our output (a pager, head) has gone."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return has_lost_reader(sys.stdout.fileno())
    return False


def give_up_stdout() -> None:
    """Nothing that is left in its buffer fails once more at the very end."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def explain_system_error(error: OSError) -> MuseTalkError | None:
    """What a command's error says of where it runs: standard output, the working directory, a path or the system's
    limits; None for one that is a bug of ours."""
    if isinstance(error, FileNotFoundError) and not _has_working_directory():
        return MuseTalkError("the working directory is gone", hint="change to another, or give absolute paths")
    is_from_printing = traceback.extract_tb(error.__traceback__)[-1].name == "echo"  # typer's
    if is_from_printing:
        return _give_up(error)
    if (refusal := as_machine_error(error)) is not None:
        return refusal
    if error.errno not in REASONS:
        return None
    name = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes, os.PathLike)) else ""
    shown = name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}…"
    return MuseTalkError(f"{shown}: {system_words(error)}" if shown else f"the system refuses: {system_words(error)}")


def _has_working_directory() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return False
    return True


def _give_up(error: OSError) -> SinkError:
    give_up_stdout()
    return SinkError(f"cannot write to standard output: {system_words(error)}")
