"""Idle motion: blinks at natural intervals, a head that moves smoothly, both functions of seed and time alone."""

from __future__ import annotations

import numpy as np
import pytest

from musetalk_cli.engine.models.warp.idle.idle_motion import (
    blinks_in_window,
    gaze_at,
    head_pose,
    lid_closure,
    life_at,
)
from musetalk_cli.engine.models.warp.idle.life import REST

MINUTES = 10


def _blink_starts(seed: int) -> list[float]:
    return sorted(blink.start_s for index in range(MINUTES * 15) for blink in blinks_in_window(seed, index))


def test_blinks_come_at_natural_intervals() -> None:
    intervals = np.diff(_blink_starts(3))
    single = intervals[intervals > 0.6]
    assert len(intervals) / MINUTES == pytest.approx(16.5, abs=3.5)
    assert (single < 2).mean() < 0.1
    assert single.max() <= 6.0
    assert 0.05 < (intervals < 0.6).mean() < 0.25


def test_a_blink_takes_three_to_four_frames_down_and_five_to_seven_up() -> None:
    times_s = np.arange(0, 60, 0.001)
    closure = np.array([lid_closure(5, t, 0) for t in times_s])
    assert closure.min() == 0
    assert 0.93 <= closure.max() <= 1
    edges = np.flatnonzero(np.diff((closure > 0).astype(int)))
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        inside = closure[start : stop + 1]
        full = np.flatnonzero(inside == inside.max())
        assert 0.10 <= full[0] / 1000 <= 0.16
        assert 0.18 <= (stop - start - full[-1]) / 1000 <= 0.29
    assert np.abs(np.diff(closure)).max() < 0.02


def test_the_eyes_blink_together_but_not_alike() -> None:
    times_s = np.arange(0, 40, 0.004)
    left, right = (np.array([lid_closure(5, t, side) for t in times_s]) for side in (0, 1))
    apart = np.abs(left - right)
    assert 0.01 < apart.max() < 0.3
    assert np.corrcoef(left, right)[0, 1] > 0.98


def test_the_gaze_rests_between_jumps_and_starts_at_the_viewer() -> None:
    points = [gaze_at(2, t) for t in np.arange(0, 120, 0.04)]
    assert points[0] == (0.0, 0.0)
    assert np.abs(points).max() <= 1
    moved = np.flatnonzero((np.diff(points, axis=0) != 0).any(axis=1))
    assert 30 <= len(moved) <= 95
    life = life_at(2, 50.0)
    assert (life.gaze_x, life.gaze_y) == gaze_at(2, 50.0)
    assert np.mean([point == (0.0, 0.0) for point in points]) > 0.2


def test_idle_motion_depends_on_seed_and_time_alone() -> None:
    times_s = [0.0, 3.21, 17.4, 3600.0]
    forward = [life_at(1, t) for t in times_s]
    backward = [life_at(1, t) for t in reversed(times_s)]
    assert forward == backward[::-1]
    assert _blink_starts(1) != _blink_starts(2)
    assert head_pose(1, 9.0) != head_pose(2, 9.0)


def test_the_head_starts_at_rest_moves_within_bounds_and_smoothly() -> None:
    for seed in range(5):
        poses = [life_at(seed, t, 1.5) for t in np.arange(0, 120, 0.04)]
        assert (poses[0].yaw, poses[0].pitch, poses[0].roll) == (0, 0, 0)
        for name, most in (("yaw", 6.0), ("pitch", 4.0), ("roll", 2.0)):
            angle = np.rad2deg([getattr(pose, name) for pose in poses])
            assert 0.4 * most < np.abs(angle).max() <= most
            assert np.abs(np.diff(angle)).max() < 0.04 * most
            assert np.abs(np.diff(angle, 2)).max() < 0.006 * most
        assert np.abs([(pose.shift_x, pose.shift_y) for pose in poses]).max() <= 0.009 + 1e-9


def test_liveliness_scales_the_head_and_at_zero_nothing_moves() -> None:
    cues = (1.0, 1.0, 0.0)
    calm, usual, lively = (life_at(4, 20.0, liveliness, cues) for liveliness in (0.5, 1.0, 1.5))
    assert calm.yaw == pytest.approx(usual.yaw / 2)
    assert lively.pitch == pytest.approx(usual.pitch * 1.5)
    assert calm.brows < usual.brows == 1.0
    assert life_at(4, 20.0, 0.0, cues) == REST


def test_cues_nod_raise_the_brows_and_shut_the_lids() -> None:
    without, with_nod = life_at(4, 20.0), life_at(4, 20.0, 1.0, (1.0, 0.0, 0.0))
    assert with_nod.pitch > without.pitch
    shut = life_at(4, 20.0, 1.0, (0.0, 0.0, 0.9))
    assert (shut.left_lid, shut.right_lid) == (0.9, 0.9)
