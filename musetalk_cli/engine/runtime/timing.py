"""Measures how long each stage takes, and how many frames a second leave."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from musetalk_cli.engine.runtime.stats import StageTiming

# The last minute at 25 fps in batches of 8 is 190 calls: enough for a steady p95, small enough to follow a change.
ROLLING_CALLS = 200
# Several of the longest blocks, whose frames leave together.
RATE_S = 10.0


class Rate:
    """How many a second, over the last RATE_S; memory does not grow. Safe to use from several threads."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._now = now
        self._since: float | None = None
        self._counts: deque[tuple[float, int]] = deque()

    def add(self, count: int) -> None:
        with self._lock:
            moment = self._now()
            self._since = moment if self._since is None else self._since
            self._counts.append((moment, count))
            self._forget(moment)

    def per_s(self) -> float:
        """0 in the first half second, which says nothing yet."""
        with self._lock:
            moment = self._now()
            self._forget(moment)
            seconds = min(RATE_S, moment - self._since) if self._since is not None else 0.0
            return sum(count for _, count in self._counts) / seconds if seconds > 0.5 else 0.0

    def _forget(self, moment: float) -> None:
        while self._counts and self._counts[0][0] <= moment - RATE_S:
            self._counts.popleft()


class StageTimer:
    """Collects the durations of one stage's calls; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._recent_ms: deque[float] = deque(maxlen=ROLLING_CALLS)
        self._busy_s = 0.0

    @contextmanager
    def measure(self, num_frames: int = 1) -> Iterator[None]:
        """Time the body, which makes ``num_frames`` frames."""
        started = time.perf_counter()
        yield
        self.add(time.perf_counter() - started, num_frames)

    def add(self, duration_s: float, num_frames: int) -> None:
        with self._lock:
            self._busy_s += duration_s
            if num_frames:
                self._recent_ms.append(duration_s * 1000 / num_frames)

    def timing(self) -> StageTiming:
        with self._lock:
            ordered = sorted(self._recent_ms)
            return StageTiming(_quantile(ordered, 0.5), _quantile(ordered, 0.95), self._busy_s)


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else 0.0
