"""What was measured, as figures only; benchmark/report describes and draws them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import floor, isfinite, log10
from statistics import median
from typing import Any, NamedTuple

SCHEMA = 2  # of the JSON document; goes up when a figure changes its meaning or place
DIGITS = 4


class FrameSize(NamedTuple):
    """Of the video, in pixels, both even."""

    width: int
    height: int


@dataclass(frozen=True)
class Spread:
    """A figure of several rounds."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        ordered = sorted(values)
        return cls(median(ordered), ordered[0], ordered[-1])


@dataclass(frozen=True)
class StageFigures:
    """One stage, working alone: milliseconds a frame over its calls, and the frames that it makes in a second."""

    p50_ms: float
    p95_ms: float
    fps: float

    @classmethod
    def of(cls, calls: Sequence[tuple[float, int]]) -> StageFigures:
        """From the seconds and the frames of each call."""
        ordered = sorted(1000 * seconds / num_frames for seconds, num_frames in calls if num_frames)
        seconds, num_frames = (sum(column) for column in zip(*calls, strict=True))
        p95 = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
        return cls(median(ordered), p95, num_frames / max(seconds, 1e-9))


@dataclass(frozen=True)
class Rates:
    """Frames per second of the model loop (all workers, faces or a still's frames alone) and delivered (from the audio
    to the encoder's bytes); seconds from the start of a loaded pipeline to its first frame."""

    model_fps: Spread
    delivered_fps: Spread
    first_frame_s: Spread


@dataclass(frozen=True)
class BlockLatency:
    """Seconds from a block's last sample to its first and its last frame, the look-ahead included."""

    first_s: Spread
    last_s: Spread


@dataclass(frozen=True)
class Capacity:
    """What a rate means: times real time, whole live streams, and the stage that bounds it ("shared": the cores do)."""

    speed: float
    num_streams: int
    bottleneck: str


@dataclass(frozen=True)
class SizeFigures:
    """Everything at one size of the frames. ``latency`` None: slower than real time, so that it has no bound."""

    width: int
    height: int
    stages: Mapping[str, StageFigures]
    rates: Rates
    latency: BlockLatency | None
    capacity: Capacity


@dataclass(frozen=True)
class SweepRow:
    """One value of what is swept."""

    value: str
    rates: Rates
    latency: BlockLatency | None


@dataclass(frozen=True)
class Sweep:
    name: str
    width: int
    height: int
    rows: tuple[SweepRow, ...]


@dataclass(frozen=True)
class SessionFigures:
    """``count`` pipelines at once: delivered frames per second of all together, and of the slowest."""

    width: int
    height: int
    count: int
    total_fps: Spread
    slowest_fps: Spread


@dataclass(frozen=True)
class StartFigures:
    """A fresh process of the real command: seconds to its first frame, and the most resident memory seen while its
    video was read, without that of ffmpeg; None where none was seen."""

    first_frame_s: Spread
    rss_mb: float | None


@dataclass(frozen=True)
class Workload:
    """How much was measured; ``note`` says why it is less than usual."""

    seconds: float
    rounds: int
    fps: float
    block_s: float
    batch_size: int
    num_workers: int
    note: str


def count_streams(delivered_fps: float, fps: float) -> int:
    """How many whole live streams this rate is enough for."""
    return floor(delivered_fps / fps)


def as_record(figures: Any) -> Any:
    """A dataclass as JSON-ready values, floats rounded to four digits."""
    return _rounded(asdict(figures))


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, (tuple, list)):
        return [_rounded(inner) for inner in value]
    if not isinstance(value, float):
        return value
    if not value or not isfinite(value):
        return 0.0 if not value else None
    return round(value, DIGITS - 1 - floor(log10(abs(value))))
