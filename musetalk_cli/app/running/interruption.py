"""What Ctrl-C and SIGTERM do to a run: it ends properly if it can, and soon in any case."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NamedTuple, Protocol

from musetalk_cli import ending

CLOSED = getattr(signal, "SIGHUP", None)
# For threads that an abort has woken.
LAST_S = 0.3
# What still computes then, as a slow model does, is left to the end of the process.
CLOSE_S = 0.1


class Patience(NamedTuple):
    """Seconds after the first signal: until ``cut_s``, what is under way is delivered; until ``abort_s``, what the
    encoder has; after ``limit_s`` the process ends, whatever it waits for."""

    cut_s: float
    abort_s: float
    limit_s: float


RENDER = Patience(cut_s=0.0, abort_s=0.6, limit_s=3.0)
# A server or a player gets what was said; Docker kills after 10 s.
STREAM = Patience(cut_s=5.0, abort_s=7.0, limit_s=9.0)


class Interruptible(Protocol):
    """What a signal ends: a pipeline, or several."""

    def stop(self) -> None:
        """Deliver what is in flight."""

    def cut(self) -> None:
        """End the output behind what the encoder has."""

    def abort(self) -> None:
        """Drop what is in flight."""

    @property
    def is_complete(self) -> bool:
        """Whether the output came to its end, uninterrupted."""

    @property
    def is_delivered(self) -> bool:
        """Whether the output has ended."""


class Display(Protocol):
    """Where people read what happens."""

    def tell(self, text: str) -> None:
        """One line that stays."""


class Interruption:
    """Counts Ctrl-C, SIGTERM, closed terminals. The first ends the run with ``patience``, a second one aborts it."""

    def __init__(self, pipeline: Interruptible, dashboard: Display, patience: Patience) -> None:
        self._pipeline = pipeline
        self._dashboard = dashboard
        self._patience = patience
        self._first = 0
        self._count = 0
        self._first_at = 0.0
        self._obeyed: set[str] = set()

    @property
    def exit_code(self) -> int:
        """128 + the signal's number, as shells have it; 0 when there was none, or when it came too late to change
        the output."""
        return 128 + self._first if self._first and not self._pipeline.is_complete else 0

    @property
    def is_over(self) -> bool:
        """Whether the run was interrupted, and nothing more of it will reach the output."""
        return self._count > 0 and (self._pipeline.is_delivered or self._elapsed_s > self._patience.abort_s + LAST_S)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Handle the signals inside, except those that we were started to ignore, and give them back afterwards.

        Once all is done they are ignored: the program is about to end, and says that it succeeded.
        """
        before = {number: signal.getsignal(number) for number in ending.SIGNALS}
        watched = {number: handler for number, handler in before.items() if handler != signal.SIG_IGN}
        ending.allow(self._patience.limit_s)
        for number in watched:
            signal.signal(number, self._receive)
        try:
            yield
        finally:
            for number, handler in watched.items():
                signal.signal(number, signal.SIG_IGN if self._pipeline.is_complete else handler)

    def obey(self) -> None:
        """Called from the loop, not from the handler: locks must not be taken inside a signal handler."""
        if not self._count:
            return
        if self._count > 1 or self._elapsed_s >= self._patience.abort_s:
            self._once("abort", self._pipeline.abort)
        elif self._elapsed_s >= self._patience.cut_s:
            self._once("cut", self._pipeline.cut)
        else:
            self._once("stop", self._pipeline.stop)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if not self._count:
            self._first, self._first_at = number, time.monotonic()
        elif number == CLOSED:
            return  # not meant: a shell passes on what the end of the terminal has sent already
        self._count += 1

    @property
    def _elapsed_s(self) -> float:
        return time.monotonic() - self._first_at

    def _once(self, name: str, act: Callable[[], None]) -> None:
        if name in self._obeyed:
            return
        if not self._obeyed:
            patient = "finishing what is under way (Ctrl-C again drops it)"
            self._dashboard.tell(f"stopping: {patient if name == 'stop' else 'ending the output'}")
        self._obeyed.add(name)
        act()
