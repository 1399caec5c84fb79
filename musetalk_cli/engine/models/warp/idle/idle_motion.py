"""What keeps a still image alive: blinks and the head's slow sway, as pure functions of a seed and the time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

# numpy's own generators would take 10 ms of the start to load.
from random import Random

_WINDOW_S = 4.0  # one blink per window, at a random time in it: intervals of about 2 to 6 s
_MARGIN_S = 1.0  # kept free at both ends of a window, so that blinks of neighbours stay apart
_DOUBLE_SHARE = 0.15
_DOUBLE_DELAY_S = 0.42
_CLOSING_S = 0.08
_HELD_S = 0.03
_OPENING_S = 0.15

_MOST_ANGLE = math.radians(1.0)
_MOST_SHIFT = 0.006  # face heights
_START_S = 2.5  # the sway grows from rest, so that the first frame is the resting one


@dataclass(frozen=True)
class Pose:
    """A small rigid motion of the head on the image: rotation (radians, clockwise), shift in face heights."""

    angle: float
    shift_x: float
    shift_y: float


def lid_closure(seed: int, time_s: float) -> float:
    """How far the lids are closed at a time, 0..1."""
    window = math.floor(time_s / _WINDOW_S)
    return max(
        _closure_since(time_s - start_s, stretch)
        for index in (window - 1, window)
        for start_s, stretch in blinks_in_window(seed, index)
    )


@lru_cache(maxsize=64)
def blinks_in_window(seed: int, index: int) -> tuple[tuple[float, float], ...]:
    """Start (s) and time stretch of the blinks that begin in window ``index`` of 4 s; one, sometimes two."""
    lot = Random(f"blinks {seed} {index}")
    start_s = index * _WINDOW_S + _MARGIN_S + lot.random() * (_WINDOW_S - 2 * _MARGIN_S)
    stretch = 0.85 + 0.3 * lot.random()
    blinks = [(start_s, stretch)]
    if lot.random() < _DOUBLE_SHARE:
        blinks.append((start_s + _DOUBLE_DELAY_S, 0.85))
    return tuple(blinks)


def _closure_since(elapsed_s: float, stretch: float) -> float:
    """A blink's course: shut fast, held a moment, opened slowly (lids decelerate as they open)."""
    t = elapsed_s / stretch
    if t <= 0 or t >= _CLOSING_S + _HELD_S + _OPENING_S:
        return 0.0
    if t < _CLOSING_S:
        return math.sin(0.5 * math.pi * t / _CLOSING_S) ** 2
    if t < _CLOSING_S + _HELD_S:
        return 1.0
    return math.pow(1 - (t - _CLOSING_S - _HELD_S) / _OPENING_S, 1.7)


def head_pose(seed: int, time_s: float) -> Pose:
    """The head's sway at a time: sums of slow sines whose periods share no common multiple; at rest at time 0."""
    phases = _phases(seed)

    def drift(first: int, slow_s: float, fast_s: float) -> float:
        slow, fast = (
            time_s / period + phase for period, phase in ((slow_s, phases[first]), (fast_s, phases[first + 1]))
        )
        return (2 * math.sin(2 * math.pi * slow) + math.sin(2 * math.pi * fast)) / 3

    started = min(max(time_s / _START_S, 0.0), 1.0)
    ease = started * started * (3 - 2 * started)
    return Pose(
        angle=_MOST_ANGLE * ease * drift(0, 9.7, 5.3),
        shift_x=_MOST_SHIFT * ease * drift(2, 13.1, 7.9),
        shift_y=_MOST_SHIFT * ease * drift(4, 6.1, 3.7),
    )


@lru_cache(maxsize=64)
def _phases(seed: int) -> tuple[float, ...]:
    lot = Random(f"sway {seed}")
    return tuple(lot.random() for _ in range(6))
