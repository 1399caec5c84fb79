"""The one clock of a live stream, and how far ahead of it audio is read and frames leave.

Nothing here sleeps or starts a thread, so that hours of a stream can be simulated in a moment.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

# A crystal is off by 0.02 % at most, and nobody notices half a percent of tempo.
MOST_SLEW = 0.005
# How fast an offset is worked off, per second: audio comes in pieces of tens of milliseconds, and their jitter moves
# the clock's rate by less than a thousandth.
SLEW_PER_S = 0.05
# How long before its time an idle frame is made: three frames, as many as ffmpeg keeps where no audio goes ahead.
IDLE_LEAD_S = 0.12
LEAST_WAIT_S = 0.001  # what is due sooner may go now


@dataclass(frozen=True)
class PacingSettings:
    """``head_s``: what the first block needs before it can be cut. ``lead_s``: how far ahead of the clock a stream may
    get. ``generation_speed`` and ``fill_rate``: stream seconds a second at which audio is read, and frames leave,
    while that lead fills. ``can_run_ahead``: whether the source has audio before its time (a file), or not (a
    microphone)."""

    head_s: float
    lead_s: float
    generation_speed: float
    fill_rate: float
    can_run_ahead: bool


class StreamClock:
    """Seconds of the stream that should have been played by now; safe to use from several threads.

    It runs with ``now`` (seconds of a monotonic clock) from ``start`` on. ``follow`` bends it, by at most 0.5 %,
    towards a source with a clock of its own; ``pause`` takes back time in which nothing was played.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._at: float | None = None
        self._stream_s = 0.0
        self._rate = 1.0

    def start(self) -> None:
        """Begin at 0; a clock that runs already goes on."""
        with self._lock:
            if self._at is None:
                self._at = self._now()

    def read(self) -> float:
        with self._lock:
            return self._advance()

    def follow(self, position_s: float) -> None:
        """A source that is the master has reached ``position_s``."""
        with self._lock:
            error_s = position_s - self._advance()
            self._rate = 1.0 + min(max(error_s * SLEW_PER_S, -MOST_SLEW), MOST_SLEW)

    def pause(self, duration_s: float) -> None:
        """The last ``duration_s`` seconds did not count."""
        with self._lock:
            self._stream_s = self._advance() - duration_s

    def _advance(self) -> float:
        if self._at is None:
            return 0.0
        now = self._now()
        self._stream_s += (now - self._at) * self._rate
        self._at = now
        return self._stream_s


class PacingBudget:
    """How far a paced stream may go: what is not yet due beyond its lead has to wait.

    Audio may be read up to ``head + min(speed · t, t + lead)`` at clock time t, and frames may leave up to
    ``min(fill · w, w + lead)``, w seconds after the first one: both rates say how fast the lead fills, and never hold
    in the long run, which is the clock's alone.
    """

    def __init__(self, clock: StreamClock, settings: PacingSettings) -> None:
        self.clock = clock
        self.settings = settings
        self._first_at: float | None = None

    def source_wait_s(self, position_s: float) -> float:
        """Seconds until the audio at ``position_s`` may be read, 0 when it may."""
        if not self.settings.can_run_ahead:
            return 0.0
        return self._wait_s(position_s - self.settings.head_s, self.clock.read(), self.settings.generation_speed)

    def release_wait_s(self, time_s: float) -> float:
        """Seconds until the frame of ``time_s`` may leave, 0 when it may; the first one starts the count."""
        if self._first_at is None:
            self._first_at = self.clock.read() - time_s
        if not self.settings.can_run_ahead:
            return 0.0
        return self._wait_s(time_s, self.clock.read() - self._first_at, self.settings.fill_rate)

    def idle_wait_s(self, time_s: float) -> float:
        """Seconds until an idle frame of ``time_s`` should be made, 0 or less for now."""
        elapsed_s = 0.0 if self._first_at is None else self.clock.read() - self._first_at
        return time_s - IDLE_LEAD_S - elapsed_s

    def lag_s(self, time_s: float) -> float:
        """How long ago the frame of ``time_s`` was due at a player that began with the first; negative when it is
        still to come, 0 before the first has left."""
        return 0.0 if self._first_at is None else self.clock.read() - self._first_at - time_s

    def _wait_s(self, wanted_s: float, clock_s: float, fill_rate: float) -> float:
        """When the later of both limits lets ``wanted_s`` pass."""
        wait_s = max(wanted_s / fill_rate - clock_s, wanted_s - self.settings.lead_s - clock_s)
        return wait_s if wait_s > LEAST_WAIT_S else 0.0
