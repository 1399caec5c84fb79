"""What people read: stderr, as plain lines where it is no terminal."""

from __future__ import annotations

import contextlib
import sys

from musetalk_cli.errors import MuseTalkError


def say(text: str) -> None:
    """One line to the user, if anybody reads stderr: with it closed, print() would put the line into the video."""
    if sys.stderr is not None:
        with contextlib.suppress(BrokenPipeError):
            print(" ".join(text.splitlines()), file=sys.stderr, flush=True)  # noqa: T201 - the one place that prints


def say_error(error: MuseTalkError) -> None:
    """An error and what to do about it, in one line."""
    message = f"{error} ({error.hint})" if error.hint else str(error)
    say(f"musetalk: error: {message}")
