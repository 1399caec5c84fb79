"""Idle motion: blinks at natural intervals, smooth sway, both functions of seed and time alone."""

from __future__ import annotations

import numpy as np
import pytest

from musetalk_cli.engine.models.warp.idle.idle_motion import blinks_in_window, head_pose, lid_closure

MINUTES = 10


def _blink_starts(seed: int) -> list[float]:
    return sorted(start_s for index in range(MINUTES * 15) for start_s, _ in blinks_in_window(seed, index))


def test_blinks_come_at_natural_intervals() -> None:
    intervals = np.diff(_blink_starts(3))
    single = intervals[intervals > 0.5]
    assert len(intervals) / MINUTES == pytest.approx(16.5, abs=3.5)
    assert (single < 2).mean() < 0.1
    assert single.max() <= 6.0
    assert 0.05 < (intervals < 0.5).mean() < 0.25


def test_a_blink_closes_fast_opens_slowly_and_is_short() -> None:
    times_s = np.arange(0, 60, 0.001)
    closure = np.array([lid_closure(5, t) for t in times_s])
    assert closure.min() == 0
    assert closure.max() == 1
    start = int(np.flatnonzero(closure > 0)[0])
    stop = start + int(np.flatnonzero(closure[start:] == 0)[0])
    peak = start + int(closure[start:stop].argmax())
    assert 0.2 <= (stop - start) / 1000 <= 0.32
    assert peak - start < (stop - start) / 2
    assert np.abs(np.diff(closure)).max() < 0.04


def test_idle_motion_depends_on_seed_and_time_alone() -> None:
    times_s = [0.0, 3.21, 17.4, 3600.0]
    forward = [(lid_closure(1, t), head_pose(1, t)) for t in times_s]
    backward = [(lid_closure(1, t), head_pose(1, t)) for t in reversed(times_s)]
    assert forward == backward[::-1]
    assert _blink_starts(1) != _blink_starts(2)
    assert head_pose(1, 9.0) != head_pose(2, 9.0)


def test_sway_starts_at_rest_stays_small_and_smooth() -> None:
    for seed in range(5):
        poses = [head_pose(seed, t) for t in np.arange(0, 120, 0.04)]
        angle = np.rad2deg([pose.angle for pose in poses])
        shift = np.array([(pose.shift_x, pose.shift_y) for pose in poses])
        assert angle[0] == 0
        assert 0.3 < np.abs(angle).max() <= 1.0
        assert np.abs(np.diff(angle)).max() < 0.06
        assert np.abs(shift).max() <= 0.006
        assert np.abs(np.diff(angle, 2)).max() < 0.01
