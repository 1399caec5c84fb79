"""What a comparison measures, and how runs become figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from musetalk_cli.benchmark.workload.figures import Spread, as_record

# Slower than this, a block takes longer than anybody waits for a figure.
LEAST_LIVE_SPEED = 0.1


@dataclass(frozen=True)
class Sample:
    """One round of one variant. ``speed``: media seconds a wall second; ``cpu_s``: CPU seconds a media second.

    ``first_s`` and ``last_s``: from the arrival of a block's last sample to the bytes of its first and of its last
    frame; ``delay_s``: the longest that a frame of the block left behind the audio with which it begins. None where
    no live run was made.
    """

    speed: float
    cpu_s: float
    first_s: float | None = None
    last_s: float | None = None
    delay_s: float | None = None


@dataclass(frozen=True)
class Row:
    """One variant: its figures, and how many times better ours is in the same round.

    ``label``: what is done instead. ``reason``: why there are no figures; else empty. Figures of
    latency are None where there was no live run, and gains in our own row.
    """

    key: str
    label: str
    reason: str = ""
    speed: Spread | None = None
    cpu_s: Spread | None = None
    first_s: Spread | None = None
    last_s: Spread | None = None
    delay_s: Spread | None = None
    speed_gain: Spread | None = None  # ours ÷ this
    cpu_gain: Spread | None = None  # this ÷ ours, as all that follow
    last_gain: Spread | None = None
    delay_gain: Spread | None = None

    @property
    def falls_behind(self) -> bool:
        """Whether it is slower than the voice, so that a live stream's latency grows without end."""
        return self.speed is not None and self.speed.median < 1.0


@dataclass(frozen=True)
class Conditions:
    """What was compared: ``width`` × ``height`` pixels, ``workers`` threads, ``block_s`` and ``seconds`` of audio."""

    model: str
    avatar: str
    width: int
    height: int
    fps: float
    block_s: float
    look_ahead_s: float
    workers: int
    batch_size: int
    cores: int
    seconds: float
    rounds: int


@dataclass(frozen=True)
class Comparison:
    """Our own row first, then each switch alone, then all together."""

    conditions: Conditions
    rows: tuple[Row, ...]

    def row(self, key: str) -> Row:
        return next(row for row in self.rows if row.key == key)

    def as_record(self) -> dict[str, Any]:
        """A JSON-ready mapping with rounded figures."""
        record: dict[str, Any] = as_record(self)
        for made, row in zip(record["rows"], self.rows, strict=True):
            made["falls_behind"] = row.falls_behind
        return record


def make_row(key: str, label: str, samples: Sequence[Sample], ours: Sequence[Sample]) -> Row:
    """A row from a variant's rounds and ours, in the same order."""
    pairs = list(zip(samples, ours, strict=True))
    is_ours = key == "ours"
    return Row(
        key,
        label,
        speed=spread([each.speed for each in samples]),
        cpu_s=spread([each.cpu_s for each in samples]),
        first_s=spread([each.first_s for each in samples]),
        last_s=spread([each.last_s for each in samples]),
        delay_s=spread([each.delay_s for each in samples]),
        speed_gain=None if is_ours else spread([mine.speed / each.speed for each, mine in pairs]),
        cpu_gain=None if is_ours else spread([each.cpu_s / mine.cpu_s for each, mine in pairs]),
        last_gain=None if is_ours else spread([_divide(each.last_s, mine.last_s) for each, mine in pairs]),
        delay_gain=None if is_ours else spread([_divide(each.delay_s, mine.delay_s) for each, mine in pairs]),
    )


def spread(values: Sequence[float | None]) -> Spread | None:
    """Of the values that are there; None without any."""
    known = [value for value in values if value is not None]
    return Spread.of(known) if known else None


def _divide(value: float | None, by: float | None) -> float | None:
    return value / by if value is not None and by else None
