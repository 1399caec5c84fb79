"""Messages on stderr, which is what the user reads: plain lines, or drawn on a terminal."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from enum import Enum
from typing import TYPE_CHECKING

from musetalk_cli.errors import MuseTalkError
from musetalk_cli.system.streams import give_up_stderr

if TYPE_CHECKING:
    from musetalk_cli.engine.types.messages import Tell


class OutputMode(Enum):
    """How much is shown: errors alone, plain lines for a pipe or a log, or a display that is drawn on the terminal."""

    QUIET = "quiet"
    PLAIN = "plain"
    TERMINAL = "terminal"


def output_mode(*, is_quiet: bool) -> OutputMode:
    """The one place that decides it: ``is_quiet`` is what the user asked for, the rest is where stderr goes."""
    if is_quiet:
        return OutputMode.QUIET
    return OutputMode.TERMINAL if is_terminal() and _can_draw() else OutputMode.PLAIN


def is_terminal() -> bool:
    """Whether stderr is open and a terminal."""
    return sys.stderr is not None and sys.stderr.isatty()


def _can_draw() -> bool:
    """Whether that terminal can move its cursor: those of editors and of old consoles call themselves dumb."""
    return os.environ.get("TERM", "").lower() not in ("dumb", "unknown")


# Spaces and joiners of scripts and emoji, which isprintable() refuses. Marks that turn the direction of writing are not
# among them: they make a name look like another.
_INVISIBLE = "\u00a0\u202f\u2009\u200a\u200b\u200c\u200d\u3000"

# What else takes every line that is said: the log file, where one is written.
also_told: list[Callable[[str], None]] = []


def printable(text: str) -> str:
    """The text in one line, its control characters as escapes: a file's name may hold what moves the cursor."""
    line = " ".join(text.splitlines())
    return "".join(char if char.isprintable() or char in _INVISIBLE else ascii(char)[1:-1] for char in line)


def note_line(text: str) -> str:
    """A line as people may be shown it, however it is drawn; whatever takes every line has it now."""
    line = printable(text)
    for tell in also_told:
        tell(line)
    return line


def say(text: str) -> None:
    """Write one line to stderr, if it is open: with it closed, print() would put the line into the video."""
    text = note_line(text)
    if sys.stderr is not None:
        try:
            print(text, file=sys.stderr, flush=True)  # noqa: T201 - the one place that prints
        except OSError:  # whoever read it has gone, or the disk is full
            give_up_stderr()


@contextlib.contextmanager
def drawing() -> Iterator[None]:
    """For what draws on the terminal: where that has gone, a run ends by its signal, not by what nobody sees."""
    try:
        yield
    except OSError:
        give_up_stderr()


def choose_tell(*, is_quiet: bool) -> Tell:
    """``say``, or what says nothing."""
    return say_nothing if is_quiet else say


def say_nothing(text: str) -> None:
    """Takes lines for a user who wants none."""


class Interval:
    """Tells when the next plain line is due: one every ``seconds``, the first after as long."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.restart()

    def restart(self) -> None:
        self._last_at = time.perf_counter()

    def is_due(self) -> bool:
        """Whether the time has passed; if so, it starts again."""
        is_due = time.perf_counter() - self._last_at >= self._seconds
        if is_due:
            self.restart()
        return is_due


@contextlib.contextmanager
def own_stderr() -> Iterator[None]:
    """Write to a copy of file descriptor 2. PortAudio points 2 at /dev/null for a moment whenever it searches for
    devices, and a message must not be lost in that moment."""
    shared = sys.stderr
    try:
        copy = None if shared is None else os.dup(2)
    except OSError:  # the system gives no more descriptors
        copy = None
    if shared is None or copy is None:
        yield
        return
    own = os.fdopen(copy, "w", encoding=shared.encoding, errors=shared.errors, buffering=1)
    sys.stderr = own
    try:
        yield
    finally:
        sys.stderr = shared
        with contextlib.suppress(OSError):  # what is left of a line that nobody took
            own.close()


def say_error(error: MuseTalkError) -> None:
    """Write an error and its hint in one line."""
    message = f"{error} ({error.hint})" if error.hint else str(error)
    say(f"musetalk: error: {message}")
