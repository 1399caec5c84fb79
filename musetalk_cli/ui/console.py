"""What people read: stderr, as plain lines where it is no terminal."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from musetalk_cli.errors import MuseTalkError


def say(text: str) -> None:
    """One line to the user, if anybody reads stderr: with it closed, print() would put the line into the video."""
    if sys.stderr is not None:
        with contextlib.suppress(BrokenPipeError):
            print(" ".join(text.splitlines()), file=sys.stderr, flush=True)  # noqa: T201 - the one place that prints


@contextlib.contextmanager
def own_stderr() -> Iterator[None]:
    """Write to a copy of file descriptor 2: it points nowhere for a moment whenever PortAudio looks for devices, and
    what a user has to know must not be lost in that moment."""
    shared = sys.stderr
    if shared is None:
        yield
        return
    with os.fdopen(os.dup(2), "w", encoding=shared.encoding, errors="backslashreplace", buffering=1) as own:
        sys.stderr = own
        try:
            yield
        finally:
            sys.stderr = shared


def say_error(error: MuseTalkError) -> None:
    """An error and what to do about it, in one line."""
    message = f"{error} ({error.hint})" if error.hint else str(error)
    say(f"musetalk: error: {message}")
