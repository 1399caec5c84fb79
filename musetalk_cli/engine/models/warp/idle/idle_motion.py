"""Seed and time in seconds → idle motion of a still: closure of the eyelids, gaze and head (LifeState)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

# numpy's own generators would take 10 ms of the start to load.
from random import Random
from typing import NamedTuple

from musetalk_cli.engine.models.warp.idle.life import REST, LifeState

_WINDOW_S = 4.0  # one blink per window, at a random time: intervals of about 2 to 6 s
_MARGIN_S = 1.0  # no blink this close to the ends of a window, so that blinks of adjacent windows stay apart
_DOUBLE_SHARE = 0.15
_DOUBLE_DELAY_S = 0.52
_CLOSING_S = 0.13  # three to four frames of 25 a second
_HELD_S = 0.03
_OPENING_S = 0.24  # five to seven
BLINK_S = _CLOSING_S + _HELD_S + _OPENING_S
_MAX_DELAY_S = 0.012  # between the eyes
_GAZE_S = 1.3  # one jump of the gaze in each window of this length

# At a liveliness of 1; at 1.5 the head turns by up to 6 degrees, bows by 3 (5 with nods) and tilts by 2.
_MAX_YAW, _MAX_PITCH, _MAX_ROLL = (math.radians(degrees) for degrees in (4.0, 2.0, 1.33))
_NOD = math.radians(1.4)  # more, with the voice's stress
_MAX_SHIFT = 0.006  # face heights
_START_S = 2.5  # the motion fades in, so that the first frame shows the head at rest


def life_at(seed: int, time_s: float, liveliness: float = 1.0, cues: Sequence[float] = (0.0, 0.0, 0.0)) -> LifeState:
    """What a still does at ``time_s`` of the stream.

    Args:
        seed: Chooses the course of it.
        time_s: Seconds of the stream.
        liveliness: How far head and brows move, 0..1.5; eyes blink as long as it is above 0.
        cues: What the voice makes it do, each 0..1: nod, brows, closure of the lids.
    """
    if liveliness <= 0:
        return REST
    nod, brows, lids = cues
    pose = head_pose(seed, time_s)
    gaze_x, gaze_y = gaze_at(seed, time_s)
    left, right = (max(lid_closure(seed, time_s, side), lids) for side in (0, 1))
    return LifeState(
        yaw=liveliness * pose.yaw,
        pitch=liveliness * (pose.pitch + _NOD * nod - 0.5 * _NOD * brows),
        roll=liveliness * pose.roll,
        shift_x=liveliness * pose.shift_x,
        shift_y=liveliness * pose.shift_y,
        left_lid=left,
        right_lid=right,
        gaze_x=min(liveliness, 1.0) * gaze_x,
        gaze_y=min(liveliness, 1.0) * gaze_y,
        brows=min(liveliness * brows, 1.0),
    )


def lid_closure(seed: int, time_s: float, side: int) -> float:
    """Closure of the left (0) or right (1) lid at ``time_s`` of the stream, 0..1."""
    window = math.floor(time_s / _WINDOW_S)
    return max(
        closure_since(time_s - blink.start_s - side * blink.delay_s, blink.stretch)
        * (blink.depth if side == blink.weaker else 1.0)
        for index in (window - 1, window)
        for blink in blinks_in_window(seed, index)
    )


class Blink(NamedTuple):
    """One blink: its start and time stretch; by how much the right eye is later, s, and the weaker eye's closure."""

    start_s: float
    stretch: float
    delay_s: float
    weaker: int
    depth: float


@lru_cache(maxsize=64)
def blinks_in_window(seed: int, index: int) -> tuple[Blink, ...]:
    """The blinks that begin in window ``index`` of 4 s; one, sometimes two."""
    rng = Random(f"blinks {seed} {index}")

    def blink(start_s: float, stretch: float) -> Blink:
        return Blink(start_s, stretch, rng.uniform(-_MAX_DELAY_S, _MAX_DELAY_S), rng.randrange(2), rng.uniform(0.93, 1))

    start_s = index * _WINDOW_S + _MARGIN_S + rng.random() * (_WINDOW_S - 2 * _MARGIN_S)
    blinks = [blink(start_s, 0.9 + 0.25 * rng.random())]
    if rng.random() < _DOUBLE_SHARE:
        blinks.append(blink(start_s + _DOUBLE_DELAY_S, 0.85))
    return tuple(blinks)


def closure_since(elapsed_s: float, stretch: float) -> float:
    """Closure during a blink: closing fast, held a moment, opening slowly, because lids decelerate as they open."""
    t = elapsed_s / stretch
    if t <= 0 or t >= _CLOSING_S + _HELD_S + _OPENING_S:
        return 0.0
    if t < _CLOSING_S:
        return math.sin(0.5 * math.pi * t / _CLOSING_S) ** 2
    if t < _CLOSING_S + _HELD_S:
        return 1.0
    return math.pow(1 - (t - _CLOSING_S - _HELD_S) / _OPENING_S, 1.7)


def gaze_at(seed: int, time_s: float) -> tuple[float, float]:
    """Where the eyes look at ``time_s``, -1..1 to the image's right and down; mostly at the viewer.

    Eyes do not glide: they jump from one point to the next within 40 ms and stay there. They jump during blinks, too.
    """
    window = math.floor(time_s / _GAZE_S)
    points = [_gaze_point(seed, index) for index in (window - 1, window)]
    start_s, x, y = points[1]
    if time_s < start_s:
        _, x, y = points[0]
    return x, y


@lru_cache(maxsize=64)
def _gaze_point(seed: int, index: int) -> tuple[float, float, float]:
    """When the eyes jump in window ``index``, and where to."""
    rng = Random(f"gaze {seed} {index}")
    start_s = (index + rng.random()) * _GAZE_S
    if index < 1 or rng.random() < 0.35:
        return start_s, 0.0, 0.0
    return start_s, max(-1.0, min(1.0, rng.gauss(0, 0.45))), max(-1.0, min(1.0, rng.gauss(0, 0.25)))


class HeadPose(NamedTuple):
    """The head's part of a :class:`LifeState`."""

    yaw: float
    pitch: float
    roll: float
    shift_x: float
    shift_y: float


def head_pose(seed: int, time_s: float) -> HeadPose:
    """The head's own motion at ``time_s`` of the stream: sums of slow sines; at rest at time 0."""
    phases = _phases(seed)

    def drift(first: int, slow_s: float, fast_s: float) -> float:
        slow, fast = time_s / slow_s + phases[first], time_s / fast_s + phases[first + 1]
        return (2 * math.sin(2 * math.pi * slow) + math.sin(2 * math.pi * fast)) / 3

    started = min(max(time_s / _START_S, 0.0), 1.0)
    ease = started * started * (3 - 2 * started)
    return HeadPose(
        yaw=_MAX_YAW * ease * drift(6, 11.3, 4.9),
        pitch=_MAX_PITCH * ease * drift(8, 8.3, 4.1),
        roll=_MAX_ROLL * ease * drift(0, 9.7, 5.3),
        shift_x=_MAX_SHIFT * ease * drift(2, 13.1, 7.9),
        shift_y=_MAX_SHIFT * ease * drift(4, 6.1, 3.7),
    )


@lru_cache(maxsize=64)
def _phases(seed: int) -> tuple[float, ...]:
    rng = Random(f"sway {seed}")
    return tuple(rng.random() for _ in range(10))
