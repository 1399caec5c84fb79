"""Seed and time in seconds → idle motion of a still: closure of the eyelids (0..1) and sway of the head (HeadPose)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

# numpy's own generators would take 10 ms of the start to load.
from random import Random

_WINDOW_S = 4.0  # one blink per window, at a random time: intervals of about 2 to 6 s
_MARGIN_S = 1.0  # no blink this close to the ends of a window, so that blinks of adjacent windows stay apart
_DOUBLE_SHARE = 0.15
_DOUBLE_DELAY_S = 0.42
_CLOSING_S = 0.08
_HELD_S = 0.03
_OPENING_S = 0.15

_MAX_ANGLE = math.radians(1.0)
_MAX_SHIFT = 0.006  # face heights
_START_S = 2.5  # the sway fades in, so that the first frame shows the head at rest


@dataclass(frozen=True)
class HeadPose:
    """A small rigid motion of the head in the image plane: clockwise rotation in radians, shift in face heights."""

    angle: float
    shift_x: float
    shift_y: float


def lid_closure(seed: int, time_s: float) -> float:
    """Closure of the lids at ``time_s`` of the stream, 0..1."""
    window = math.floor(time_s / _WINDOW_S)
    return max(
        _closure_since(time_s - start_s, stretch)
        for index in (window - 1, window)
        for start_s, stretch in blinks_in_window(seed, index)
    )


@lru_cache(maxsize=64)
def blinks_in_window(seed: int, index: int) -> tuple[tuple[float, float], ...]:
    """Start (s) and time stretch of the blinks that begin in window ``index`` of 4 s; one, sometimes two."""
    rng = Random(f"blinks {seed} {index}")
    start_s = index * _WINDOW_S + _MARGIN_S + rng.random() * (_WINDOW_S - 2 * _MARGIN_S)
    stretch = 0.85 + 0.3 * rng.random()
    blinks = [(start_s, stretch)]
    if rng.random() < _DOUBLE_SHARE:
        blinks.append((start_s + _DOUBLE_DELAY_S, 0.85))
    return tuple(blinks)


def _closure_since(elapsed_s: float, stretch: float) -> float:
    """Closure during a blink: closing fast, held a moment, opening slowly, because lids decelerate as they open."""
    t = elapsed_s / stretch
    if t <= 0 or t >= _CLOSING_S + _HELD_S + _OPENING_S:
        return 0.0
    if t < _CLOSING_S:
        return math.sin(0.5 * math.pi * t / _CLOSING_S) ** 2
    if t < _CLOSING_S + _HELD_S:
        return 1.0
    return math.pow(1 - (t - _CLOSING_S - _HELD_S) / _OPENING_S, 1.7)


def head_pose(seed: int, time_s: float) -> HeadPose:
    """The head's sway at ``time_s`` of the stream: sums of slow sines of incommensurate periods; at rest at time 0."""
    phases = _phases(seed)

    def drift(first: int, slow_s: float, fast_s: float) -> float:
        slow, fast = (
            time_s / period + phase for period, phase in ((slow_s, phases[first]), (fast_s, phases[first + 1]))
        )
        return (2 * math.sin(2 * math.pi * slow) + math.sin(2 * math.pi * fast)) / 3

    started = min(max(time_s / _START_S, 0.0), 1.0)
    ease = started * started * (3 - 2 * started)
    return HeadPose(
        angle=_MAX_ANGLE * ease * drift(0, 9.7, 5.3),
        shift_x=_MAX_SHIFT * ease * drift(2, 13.1, 7.9),
        shift_y=_MAX_SHIFT * ease * drift(4, 6.1, 3.7),
    )


@lru_cache(maxsize=64)
def _phases(seed: int) -> tuple[float, ...]:
    rng = Random(f"sway {seed}")
    return tuple(rng.random() for _ in range(6))
