"""How soon a signal ends the process, whatever its threads are doing.

A handler of Python's runs on the main thread, and only between two of its instructions: a library that loads or
computes keeps it waiting. The C part of the handler writes the signal's number into a pipe at once; a thread of ours
reads it, and ends the process when its time is over.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

# Ctrl-Break, which Windows has beside Ctrl-C, comes when the console is closed, as SIGHUP does elsewhere.
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name))
# A command that leaves nothing to be finished is over long before. Docker kills after 10 s.
LIMIT_S = 2.0


class SignalExit(SystemExit):
    """Ends the program with a signal's code. ``is_told``: what that means for the command was said."""

    is_told = False


_callbacks: list[Callable[[], None]] = []
_limit_s: float | None = LIMIT_S
_first = 0
_is_settled = False


def watch_signals() -> None:
    """Start the thread. Only the program does so: in a library, signals are the caller's."""
    read_fd, write_fd = os.pipe()
    if sys.platform != "win32":
        os.set_blocking(write_fd, False)
        os.register_at_fork(after_in_child=_forget_signals)
    signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
    # Not a Thread: its start waits for ever where there is no memory for the first line of the new thread.
    _thread.start_new_thread(_watch, (read_fd,))


def allow(limit_s: float | None) -> None:
    """How long after a signal the process may go on; None: for as long as it likes."""
    global _limit_s
    _limit_s = limit_s


def on_leaving(callback: Callable[[], None]) -> None:
    """Have ``callback`` release, from any thread, what outlives a process that ends at once: children, a terminal."""
    _callbacks.append(callback)


def note(number: int) -> None:
    """A handler of Python's has run for this signal."""
    global _first
    _first = _first or number


def is_by_signal(code: object) -> bool:
    """Whether a signal has come, or this is the exit code of one."""
    return _first > 0 or code in [128 + number for number in SIGNALS]


@contextmanager
def final_step() -> Iterator[None]:
    """For the step that completes a command, in the main thread: a signal inside comes too late, unless it fails.

    The exit code then says what has happened: 0 where a file has its name already, the signal's where it has not.
    """
    global _is_settled
    _is_settled = True
    try:
        yield
    except BaseException:
        _is_settled = False
        if _first:
            raise SignalExit(128 + _first) from None
        raise


@contextmanager
def further_step() -> Iterator[None]:
    """For what follows the final step and is not needed: a signal ends it, also one that came during that step."""
    global _is_settled
    was_settled, _is_settled = _is_settled, False
    if _first:
        raise SignalExit(128 + _first)
    yield
    _is_settled = was_settled


def is_settled() -> bool:
    """Whether a signal changes nothing any more."""
    return _is_settled


def leave_by_signal() -> NoReturn:
    """End with the code of the first signal."""
    leave(128 + _first)


def leave(code: int) -> NoReturn:
    """End the process without waiting for threads that still compute."""
    for callback in _callbacks:
        with contextlib.suppress(Exception):
            callback()
    os._exit(code)


def _watch(fd: int) -> None:
    global _first
    while not _first:
        try:
            number = next(iter(os.read(fd, 1)), 0)
        except OSError:  # the handlers are all that is left
            return
        _first = number if number in SIGNALS else 0
    deadline = time.monotonic()
    while _limit_s is None or time.monotonic() < deadline + _limit_s:
        time.sleep(0.05)
    leave(128 + _first)


def _forget_signals() -> None:
    with contextlib.suppress(ValueError):
        signal.set_wakeup_fd(-1)
