"""A session against its clock: which faces are left out when there is no time for them."""

from __future__ import annotations

import time
from fractions import Fraction

from musetalk_cli.engine.live.clock import StreamClock
from musetalk_cli.engine.live.hooks import RunHooks
from musetalk_cli.engine.live.overload import Overload


class SessionHooks(RunHooks):
    """Frames wait for their time in the session's queue, not here."""

    def __init__(self, clock: StreamClock, overload: Overload, frame_rate: Fraction) -> None:
        self._clock = clock
        self._overload = overload
        self._frame_rate = frame_rate

    def choose(self, frames: range) -> list[bool] | None:
        return self._overload.choose(len(frames), self._lag_s(frames.start))

    def due_at(self, frames: range) -> float | None:
        return time.monotonic() - self._lag_s(frames.start)

    def leaves_out(self, frames: range) -> bool:
        return bool(frames) and self._overload.leave_out(len(frames), self._lag_s(frames.stop))

    @property
    def shows_idle(self) -> bool:
        return self._overload.policy == "idle"

    @property
    def num_held(self) -> int:
        """Frames so far for which no face was made."""
        counts = self._overload.counts
        return counts.num_held + counts.num_idle + counts.num_skipped

    def _lag_s(self, frame: int) -> float:
        return self._clock.read() - float(frame / self._frame_rate)
