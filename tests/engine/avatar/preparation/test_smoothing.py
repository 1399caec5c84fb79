"""Jitter goes, motion stays, gaps close, and nothing crosses a cut."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from fixtures.meshes import RATE, portrait_mesh, track_of
from musetalk_cli.engine.avatar.mesh import LIPS
from musetalk_cli.engine.avatar.preparation.smoothing import STEADY, _convolve, _parabola, smooth_track
from musetalk_cli.engine.avatar.preparation.tracking import FaceTrack
from musetalk_cli.errors import AvatarError

NOISE_PX = 0.4
STILL = portrait_mesh()[:, :2].astype(np.float64)


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, NOISE_PX, (count, 468, 2))


def jitter_px(points: np.ndarray) -> float:
    """Deviation that white noise with the same second differences would have."""
    return float(np.sqrt(np.mean(np.diff(points, n=2, axis=0) ** 2) / 6))


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30_000, 1001), Fraction(60)])
def test_a_face_at_rest_comes_to_rest(rate: Fraction) -> None:
    track = track_of(STILL + noise(100))
    calm = smooth_track(track, rate).points
    assert jitter_px(track.points) == pytest.approx(NOISE_PX, rel=0.1)
    assert jitter_px(calm[5:-5]) < NOISE_PX / 6
    assert np.abs(calm - STILL).mean() < np.abs(track.points - STILL).mean() / 1.8


def test_a_moving_head_is_followed() -> None:
    frames = np.arange(120)[:, None, None]
    path = STILL + np.concatenate([60 * np.sin(frames / 12), 25 * np.cos(frames / 9)], axis=2)
    track = track_of(path + noise(120))
    calm = smooth_track(track, RATE).points
    assert np.sqrt(np.mean((calm - path)[5:-5] ** 2)) < NOISE_PX
    assert jitter_px(calm - path) < jitter_px(track.points - path) / 1.5


def test_a_mouth_that_snaps_shut_for_two_frames_still_does() -> None:
    path = np.repeat(STILL[None], 60, axis=0)
    path[30:32, list(LIPS), 1] += 12
    calm = smooth_track(track_of(path + noise(60)), RATE).points
    moved = (calm - path[0])[:, list(LIPS), 1].mean(axis=1)
    assert moved[30:32].min() > 11.4
    assert np.abs(moved[[27, 28, 29, 32, 33, 34]]).max() < 0.6


@pytest.mark.parametrize("speed_px", [-9.0, -2.0, 3.0, 12.0])
def test_a_head_that_moves_at_the_first_and_the_last_frame_is_where_it_is(speed_px: float) -> None:
    """Beyond the ends the path goes on as it went; mirrored in time, it would be dragged back by half a window."""
    path = STILL + speed_px * np.arange(60)[:, None, None]
    calm = smooth_track(track_of(path + noise(60)), RATE).points
    middle = np.abs((calm - path)[20:40].mean(axis=1)).max()
    assert np.abs((calm - path)[:3].mean(axis=1)).max() < middle + 0.1
    assert np.abs((calm - path)[-3:].mean(axis=1)).max() < middle + 0.1


@pytest.mark.parametrize("half", [1, 2, 4])
def test_a_line_and_its_ends_stay_what_they_are(half: int) -> None:
    line = 5.0 + 2.5 * np.arange(12)[:, None, None] * np.array([1.0, -2.0])
    assert _convolve(line, _parabola(half)) == pytest.approx(line)
    assert _convolve(line, np.full(2 * half + 1, 1 / (2 * half + 1))) == pytest.approx(line)


@pytest.mark.parametrize("half", [1, 2, 5])
def test_the_window_gives_the_middle_of_a_parabola_and_no_step_between_frames(half: int) -> None:
    weights, at = _parabola(half), np.arange(-half, half + 1)
    assert weights @ (3.0 + 0.5 * at - 0.25 * at**2) == pytest.approx(3.0)
    assert weights == pytest.approx(weights[::-1])
    assert weights.argmax() == half


def test_it_adds_no_lag() -> None:
    """Smoothing a film that runs backwards gives the smoothed film, backwards."""
    frames = np.arange(80)[:, None, None]
    track = track_of(STILL + 20 * np.sin(frames / 6) + noise(80))
    backwards = track_of(track.points[::-1])
    assert smooth_track(backwards, RATE).points[::-1] == pytest.approx(smooth_track(track, RATE).points, abs=1e-3)


def test_gaps_close_along_a_straight_line_and_stay_marked() -> None:
    frames = np.arange(50)[:, None, None]
    path = STILL + 3.0 * frames
    is_found = [not (10 <= i < 15 or i < 2) for i in range(50)]
    track = track_of(path, is_found)
    full = smooth_track(track, RATE)
    assert full.points[10:15] == pytest.approx(path[10:15], abs=1e-2)
    assert full.points[0] == pytest.approx(path[2], abs=0.5 * 6)  # nothing before it: it waits where it is first seen
    assert np.isfinite(full.points).all()
    assert (full.is_found == track.is_found).all()
    assert full.reject_reason == track.reject_reason


def test_a_cut_stays_sharp() -> None:
    path = np.concatenate([np.repeat(STILL[None], 30, axis=0), np.repeat(STILL[None] + 80, 30, axis=0)])
    calm = smooth_track(track_of(path + noise(60), cuts=(30,)), RATE).points
    assert np.abs(calm[:30] - STILL).max() < 6 * NOISE_PX
    assert np.abs(calm[30:] - STILL - 80).max() < 6 * NOISE_PX


def test_a_gap_is_not_filled_across_a_cut_but_an_empty_shot_takes_the_nearest_face() -> None:
    path = STILL + np.repeat([0.0, 100.0, 200.0], 10)[:, None, None]
    is_found = [True] * 7 + [False] * 13 + [True] * 10
    full = smooth_track(track_of(path, is_found, cuts=(10, 20)), RATE).points
    assert full[7:10] == pytest.approx(np.repeat(STILL[None], 3, axis=0), abs=1e-3)
    assert full[10] == pytest.approx(STILL, abs=1e-3)
    assert full[19] == pytest.approx(STILL + 200, abs=1e-3)


def test_frozen_frames_do_not_hide_the_noise() -> None:
    moving = STILL + noise(60)
    frozen = np.concatenate([np.repeat(moving[:1], 60, axis=0), moving])
    calm = smooth_track(track_of(frozen), RATE).points
    assert jitter_px(calm[70:-5]) < NOISE_PX / 5


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_short_tracks_are_fine(count: int) -> None:
    track = track_of(STILL + noise(count))
    assert np.abs(smooth_track(track, RATE).points - STILL).max() < 8 * NOISE_PX


def test_a_track_is_left_as_it_was() -> None:
    track = track_of(STILL + noise(20), [i != 3 for i in range(20)])
    before = track.points.copy()
    smooth_track(track, RATE)
    assert np.array_equal(track.points, before, equal_nan=True)


def test_steady_points_are_those_that_do_not_move_by_themselves() -> None:
    assert not set(STEADY) & set(LIPS)
    assert {1, 10, 152, 168} <= set(STEADY)


def test_no_face_at_all_is_an_error() -> None:
    empty: FaceTrack = replace(track_of(STILL[None]), is_found=np.array([False]))
    with pytest.raises(AvatarError, match="no frame shows a face"):
        smooth_track(empty, RATE)
