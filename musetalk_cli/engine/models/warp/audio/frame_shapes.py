"""Mouth shapes per 20 ms step, float32 (n, 6) → mouth shapes of frames, float32 (m, 6).

A frame shows its own window of steps. The windows one frame of 40 ms before and after it make its closure surer or less
sure, and its gap and jaw smoother. They are that far away at any frame rate.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.models.warp.audio.log_mel import STEP_S

FloatArray = NDArray[np.float32]

# A frame shows the mean mouth of its first 40 ms at most. Over a longer window all mouths average to half open, and a
# frame that runs past the end of its block would need more audio than a live stream has.
MAX_WINDOW_S = 0.04
# How far the windows of a frame's neighbours are from its own, and the weight of each in the gap and the jaw. People's
# gap is smoother than the net's.
NEIGHBOUR_S = 0.04
NEIGHBOUR_WEIGHT = 0.3
# The smoothed gap is this much wider, so that an open vowel opens as far as it did.
STRETCH = 1.12
# Lips that the net is unsure of meet where it is surest: by so much P grows where it exceeds both neighbours, and falls
# where it is below one. In noise this finds more closures, and shuts fewer vowels beside them.
PEAK_GAIN = 1.5
# Sure closures (P near 1) get no gap from their neighbours: the share that an unsure one gets is 1 − P to this power.
_LOCK_POWER = 3
# From the first to the second of these, P is sure enough that neither its neighbours nor a surer one beside it open it.
_SURE = (0.75, 0.9)
_PROBE_S = 0.005


def sample_frames(steps: FloatArray, first_step: int, times_s: NDArray[np.float64], window_s: float) -> FloatArray:
    """Steps (n, 6) → frames (m, 6): means over each frame's window, but maxima of P and F; P and F close O.

    P and F take the maximum because a mean would erase a closure shorter than the window. Steps are interpolated
    linearly between their centres. P is squared: half a closure already narrows the gap, at a peak shuts it, and only a
    sure one presses the lips together.

    Args:
        steps: float32 (n, 6), output of ``predict_steps``; they reach ``NEIGHBOUR_S`` beyond the windows.
        first_step: Index in the stream of ``steps[0]``.
        times_s: Start times of the windows, (m,).
        window_s: Length of each window.
    """
    centres_s = (first_step + np.arange(len(steps)) + 0.5) * STEP_S
    count = max(2, math.ceil(window_s / _PROBE_S)) + 1
    inside_s = np.linspace(0.0, window_s, count)
    own_s = times_s[:, None] + inside_s
    all_s = own_s[:, None, :] + np.array([-NEIGHBOUR_S, 0.0, NEIGHBOUR_S])[:, None]
    open_gap, jaw, width = (np.interp(all_s, centres_s, steps[:, k]).mean(axis=2) for k in (0, 1, 2))
    bilabial, labiodental = (np.interp(all_s, centres_s, steps[:, k]).max(axis=2) for k in (3, 4))
    tongue = np.interp(own_s, centres_s, steps[:, 5]).mean(axis=1)
    gap = np.minimum(STRETCH * _shown(open_gap, bilabial, labiodental), 1.0)
    jaw, width = (_smoothed(each, each[:, 1], 1.0) for each in (jaw, width))
    bilabial, labiodental = bilabial[:, 1], labiodental[:, 1]
    return np.stack([gap, jaw, width, bilabial**2, labiodental, tongue], axis=1).astype(np.float32)


def _shown(open_gap: NDArray[Any], bilabial: NDArray[Any], labiodental: NDArray[Any]) -> NDArray[Any]:
    """The gap (m,) of windows and their neighbours, (m, 3) each, with closures made surer and smoothed."""
    gaps = _closed(open_gap, bilabial, labiodental)
    shut, own = _peaked(bilabial), bilabial[:, 1]
    narrowed = _closed(open_gap[:, 1], shut, labiodental[:, 1])
    gap = _smoothed(gaps, narrowed, 1.0 - np.maximum(shut, labiodental[:, 1]) ** _LOCK_POWER)
    sure = np.interp(own, _SURE, (0.0, 1.0))
    return np.asarray(gap - sure * np.maximum(gap - gaps[:, 1], 0.0))


def _closed(gap: NDArray[Any], bilabial: NDArray[Any], labiodental: NDArray[Any]) -> NDArray[Any]:
    """The gap that closures leave; lip and teeth leave a quarter."""
    return np.asarray(gap * (1.0 - bilabial) * (1.0 - 0.75 * labiodental))


def _peaked(bilabial: NDArray[Any]) -> NDArray[Any]:
    """P of each window and its neighbours, (m, 3) → (m,): that of the window, made surer at a peak."""
    before, own, after = bilabial.T
    return np.asarray(np.clip(own + PEAK_GAIN * (own - np.maximum(before, after)), 0.0, 1.0))


def _smoothed(windows: NDArray[Any], own: NDArray[Any], share: NDArray[Any] | float) -> NDArray[Any]:
    """``own`` (m,) with a ``share`` of what the windows beside it, (m, 3), add."""
    beside = NEIGHBOUR_WEIGHT * (windows[:, 0] + windows[:, 2])
    return np.asarray((1.0 - 2.0 * NEIGHBOUR_WEIGHT) * own + share * beside)
