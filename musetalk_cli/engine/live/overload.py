"""What happens when faces take longer than real time: which frames are made, and what the others show."""

from __future__ import annotations

import threading
from typing import Literal

from musetalk_cli.engine.runtime.stats import OverloadCounts

OverloadPolicy = Literal["hold", "idle", "skip"]

# ``skip`` thins out before frames are late, by a tenth at a time, and comes back in small steps: the model's pace is
# seen only a batch later, so that larger steps would swing.
THIN_OUT, COME_BACK = 0.9, 1.03
LEAST_SHARE = 0.1


class Overload:
    """Decides, frame by frame, whether the model makes a face. Safe to use from several threads.

    ``hold`` and ``idle`` leave out what is more than ``tolerance_s`` late, until the stream has caught up. ``skip``
    makes an even share of all frames, as many as can be made, and leaves out the rest only beyond twice the tolerance.
    What is left out costs nothing, so no queue grows, and its audio goes out in its place.
    """

    def __init__(self, policy: OverloadPolicy, tolerance_s: float) -> None:
        self.policy = policy
        self._tolerance_s = tolerance_s
        self._lock = threading.Lock()
        self._share = 1.0
        self._debt = 0.0
        self._counts = OverloadCounts()

    @property
    def counts(self) -> OverloadCounts:
        with self._lock:
            return self._counts

    def choose(self, num_frames: int, lag_s: float) -> list[bool]:
        """For each of ``num_frames`` frames, of which the first is ``lag_s`` seconds late: make it or not."""
        with self._lock:
            wanted = (
                self._choose_evenly(num_frames, lag_s) if self.policy == "skip" else self._choose(num_frames, lag_s)
            )
            self._count(wanted.count(False))
            return wanted

    def leave_out(self, num_frames: int, lag_s: float) -> bool:
        """Whether to leave out a whole block before anything is done for it: only far beyond the tolerance, when even
        features are too slow. ``lag_s``: of its last frame."""
        with self._lock:
            is_hopeless = lag_s > 2 * self._tolerance_s
            self._count(num_frames * is_hopeless)
            return is_hopeless

    def _choose(self, num_frames: int, lag_s: float) -> list[bool]:
        return [lag_s <= self._tolerance_s] * num_frames

    def _choose_evenly(self, num_frames: int, lag_s: float) -> list[bool]:
        if lag_s > self._tolerance_s / 2:
            self._share = max(LEAST_SHARE, self._share * THIN_OUT)
        elif lag_s < self._tolerance_s / 4:
            self._share = min(1.0, self._share * COME_BACK)
        if lag_s > 2 * self._tolerance_s:
            return [False] * num_frames
        return [self._is_turn() for _ in range(num_frames)]

    def _is_turn(self) -> bool:
        """The error-carrying choice of a line drawn on a grid: any long run holds the wanted share, evenly."""
        self._debt += self._share
        is_turn = self._debt >= 1.0 - 1e-9
        self._debt -= is_turn
        return is_turn

    def _count(self, num_left_out: int) -> None:
        held, idle, skipped = self._counts.num_held, self._counts.num_idle, self._counts.num_skipped
        self._counts = OverloadCounts(
            held + num_left_out * (self.policy == "hold"),
            idle + num_left_out * (self.policy == "idle"),
            skipped + num_left_out * (self.policy == "skip"),
        )
