"""How long each stage takes, in numbers only; others draw them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from musetalk_cli.engine.live.live_pace import LiveStats

# The last minute at 25 fps in batches of 8 is 190 calls: enough for a steady p95, small enough to follow a change.
ROLLING_CALLS = 200
# Several of the longest blocks, whose frames leave together.
RATE_S = 10.0


@dataclass(frozen=True)
class StageTiming:
    """One stage: milliseconds per frame of its recent calls, and the seconds it was busy in all."""

    p50_ms: float
    p95_ms: float
    busy_s: float

    @property
    def fps(self) -> float:
        """Frames that one thread makes in a second of work; 0 where none was made."""
        return 1000 / self.p50_ms if self.p50_ms else 0.0


@dataclass(frozen=True)
class Snapshot:
    """The run at one moment. ``speed`` is media seconds made per wall second: above 1 is faster than live.
    ``num_silent`` frames have been heard so far that need no face, because nobody speaks."""

    elapsed_s: float = 0.0
    model: str = ""
    num_frames: int = 0
    num_silent: int = 0
    total_s: float | None = None
    media_s: float = 0.0
    speed: float = 0.0
    num_bytes: int = 0
    time_to_first_byte_s: float | None = None
    time_to_first_fragment_s: float | None = None
    stages: Mapping[str, StageTiming] = field(default_factory=dict)
    live: LiveStats | None = None

    def as_record(self) -> dict[str, Any]:
        """A JSON-ready mapping with rounded figures."""
        record: dict[str, Any] = _rounded(asdict(self))
        return record


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items() if inner is not None or key != "live"}
    if isinstance(value, (tuple, list)):
        return [_rounded(inner) for inner in value]
    return round(value, 4) if isinstance(value, float) else value


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
