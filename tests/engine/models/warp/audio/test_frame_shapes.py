"""Steps of a mouth become frames: a short closure shuts a whole one, a peak is surer, and the gap is smooth."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from musetalk_cli.engine.models.warp.audio.frame_shapes import (
    MAX_WINDOW_S,
    NEIGHBOUR_WEIGHT,
    STRETCH,
    sample_frames,
)
from musetalk_cli.engine.models.warp.audio.log_mel import STEP_S

FloatArray = NDArray[np.float32]

FRAME_S = 0.04
CLOSED_STEP = 10
OPEN = 0.8  # as it is drawn


def steps_with_a_closure(closure: str) -> FloatArray:
    """Steps of a mouth that is open throughout, with one 20 ms step in which the lips meet."""
    steps = np.tile(np.array([OPEN / STRETCH, 0.6, 0.0, 0.0, 0.0, 0.5], np.float32), (20, 1))
    steps[CLOSED_STEP, {"P": 3, "F": 4}[closure]] = 1.0
    return steps


def windows(num_frames: int = 9) -> NDArray[np.float64]:
    """Frames at 25 fps, of which number 5 holds the closed step, which is from 0.2 to 0.22 s."""
    return np.arange(num_frames) * FRAME_S


def test_a_closure_of_one_step_closes_its_whole_frame() -> None:
    """A mean over the frame's 40 ms would leave half of it: lips that do not meet in /p/, /b/ and /m/."""
    shapes = sample_frames(steps_with_a_closure("P"), 0, windows(), MAX_WINDOW_S)
    assert shapes[5] == pytest.approx([0.0, 0.6, 0.0, 1.0, 0.0, 0.5], abs=1e-6)
    for frame in (4, 6):  # open, and less so, as next to any closure
        assert shapes[frame, :2] == pytest.approx([OPEN * (1 - NEIGHBOUR_WEIGHT), 0.6], abs=1e-6)
    for frame in (0, 1, 2, 7, 8):
        assert shapes[frame] == pytest.approx([0.8, 0.6, 0.0, 0.0, 0.0, 0.5], abs=1e-6)


def test_lip_and_teeth_leave_a_quarter_of_the_gap() -> None:
    shapes = sample_frames(steps_with_a_closure("F"), 0, windows(), MAX_WINDOW_S)
    assert shapes[5] == pytest.approx([(1.0 - 2.0 * NEIGHBOUR_WEIGHT) * OPEN / 4, 0.6, 0.0, 0.0, 1.0, 0.5], abs=1e-6)


def steps_with_closures_of(*values: float) -> FloatArray:
    """An open mouth whose P is 0 but in steps 8, 9 …; pairs of them are frames 4, 5 …"""
    steps = np.tile(np.array([OPEN / STRETCH, 0.6, 0.0, 0.0, 0.0, 0.5], np.float32), (24, 1))
    steps[8 : 8 + len(values), 3] = values
    return steps


def test_an_unsure_closure_shuts_the_lips_where_it_is_surest_and_does_not_press_them() -> None:
    shapes = sample_frames(steps_with_closures_of(0.3, 0.3, 0.75, 0.75, 0.3, 0.3), 0, windows(), MAX_WINDOW_S)
    assert shapes[5, 0] < 0.12 < OPEN * (1 - 0.75)
    assert shapes[[4, 6], 0].min() > 0.4  # beside the peak the lips are open
    assert shapes[5, 3] == pytest.approx(0.75**2, abs=1e-6)


def test_lips_that_stay_pressed_stay_shut() -> None:
    shapes = sample_frames(steps_with_closures_of(*[1.0] * 8), 0, windows(), MAX_WINDOW_S)
    assert not shapes[4:8, 0].any()
    assert shapes[4:8, 3] == pytest.approx(1.0)


def test_the_gap_does_not_tremble() -> None:
    """A gap that is 0.2 and 0.6 in turn, from frame to frame, is drawn as much the same throughout."""
    steps = np.zeros((40, 6), np.float32)
    steps[:, 0] = np.tile([0.2, 0.2, 0.6, 0.6], 10)
    gap = sample_frames(steps, 0, windows(18), MAX_WINDOW_S)[2:-2, 0]
    assert np.ptp(gap) < 0.3 * 0.4
    assert gap.mean() == pytest.approx(0.4 * STRETCH, abs=0.02)


@pytest.mark.parametrize("window_s", [0.01, 0.02, 0.04])
def test_a_closure_two_steps_away_narrows_the_gap_at_any_frame_rate(window_s: float) -> None:
    steps = steps_with_closures_of(1.0, 1.0, 1.0)  # from 0.16 to 0.22 s
    gap = sample_frames(steps, 0, np.array([0.04, 0.12, 0.18]), window_s)[:, 0]
    assert gap == pytest.approx([OPEN, OPEN * (1 - NEIGHBOUR_WEIGHT), 0.0], abs=0.07)


@pytest.mark.parametrize("first_step", [-3, 0, 7])
def test_gap_jaw_width_and_tongue_are_means_over_the_window(first_step: int) -> None:
    """On a ramp, the mean is the value in the window's middle; steps count from the stream's beginning."""
    centres_s = (first_step + np.arange(40) + 0.5) * STEP_S
    steps = np.stack(
        [centres_s, 2 * centres_s, -centres_s, 0 * centres_s, 0 * centres_s, 3 * centres_s], axis=1
    ).astype(np.float32)
    times_s = np.array([0.2, 0.333, 0.5])
    for window_s in (0.01, 0.02, 0.04):
        middle_s = times_s + window_s / 2
        expected = np.stack(
            [STRETCH * middle_s, 2 * middle_s, -middle_s, 0 * middle_s, 0 * middle_s, 3 * middle_s], axis=1
        )
        assert sample_frames(steps, first_step, times_s, window_s) == pytest.approx(expected, abs=1e-5)
