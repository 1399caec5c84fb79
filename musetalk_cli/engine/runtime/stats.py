"""The figures of a run at one moment. Whoever measures fills them in; whoever draws or writes them reads them here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

TargetState = Literal["waiting", "live", "behind", "retrying", "gone", "ended"]


class StageTiming(NamedTuple):
    """One stage: milliseconds per frame of its recent calls, and the seconds it was busy in all."""

    p50_ms: float
    p95_ms: float
    busy_s: float

    @property
    def fps(self) -> float:
        """Frames that one thread makes in a second of work; 0 where none was made."""
        return 1000 / self.p50_ms if self.p50_ms else 0.0


class LatencyStats(NamedTuple):
    """Seconds from a frame's first sample at the source to the frame's bytes: of the last 10 s, and of the whole run;
    ``steps`` has p50 and p95 of each step's share, in milliseconds."""

    now_p50_s: float = 0.0
    now_p95_s: float = 0.0
    run_p50_s: float = 0.0
    run_p95_s: float = 0.0
    steps: Mapping[str, tuple[float, float]] = {}


class OverloadCounts(NamedTuple):
    """Frames that were not made from the voice: repeated late ones, idle ones, and ones left out on purpose."""

    num_held: int = 0
    num_idle: int = 0
    num_skipped: int = 0


class TargetHealth(NamedTuple):
    """How a destination is doing: its state, bytes taken, frames dropped for it alone, and times it was restarted."""

    name: str
    state: TargetState
    num_bytes: int
    num_dropped: int
    num_restarts: int


class LiveStats(NamedTuple):
    """A live stream at one moment.

    ``delivered_fps``: frames a second whose bytes left lately; ``buffer_s``: read but not yet sent; ``lead_s``: sent
    ahead of the clock (negative: late); ``skew_ms``: frames handed to the encoder, less audio and its lead;
    ``silence_share`` of all audio, 0..1.
    """

    latency: LatencyStats
    delivered_fps: float
    buffer_s: float
    lead_s: float
    counts: OverloadCounts
    silence_share: float
    skew_ms: float
    num_overruns: int
    num_filled_s: float
    is_muted: bool
    targets: Sequence[TargetHealth] = ()


class Snapshot(NamedTuple):
    """The run at one moment. ``speed`` is media seconds made per wall second: above 1 is faster than live.
    ``num_silent``: frames so far that need no face, because nobody speaks."""

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
    stages: Mapping[str, StageTiming] = {}
    live: LiveStats | None = None

    def as_record(self) -> dict[str, Any]:
        """A JSON-ready mapping with rounded figures."""
        record: dict[str, Any] = _rounded(self)
        return record


def _rounded(value: Any) -> Any:
    value = value._asdict() if hasattr(value, "_asdict") else value
    if isinstance(value, Mapping):
        return {key: _rounded(inner) for key, inner in value.items() if inner is not None or key != "live"}
    if isinstance(value, (tuple, list)):
        return [_rounded(inner) for inner in value]
    return round(value, 4) if isinstance(value, float) else value
