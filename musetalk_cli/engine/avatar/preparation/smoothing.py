"""Smooths a track: gaps are filled from both sides, jitter is removed, real motion is preserved.

All of it uses the future as well as the past, so it adds no lag. Each point's path is fitted with ever
longer local parabolas, and a longer one is believed only as far as it stays within the net's own noise of what the
shorter ones say. So a head at rest gets the longest, and a mouth that snaps shut within two frames keeps its points.
The idea, a window that grows until it disagrees, is that of Lepski (1990) and of Goldenshluger and Nemirovski (1997).
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.landmarks import FloatArray
from musetalk_cli.engine.avatar.mesh import LIDS, LIPS, NUM_MESH_POINTS
from musetalk_cli.engine.avatar.preparation.tracking import FaceTrack
from musetalk_cli.engine.avatar.visibility import shots_of
from musetalk_cli.errors import AvatarError

Doubles = NDArray[np.float64]

# Half lengths of the windows; the longest spans two thirds of a second.
WINDOWS_S = (0.08, 0.16, 0.32)
# By how many noises a longer window may move a point before it is mistrusted. Lips and lids move by themselves, and
# quickly; everything else moves with the head.
TOLERANCE, MOBILE_TOLERANCE = 3.0, 2.0
MOBILE = tuple(sorted({*LIPS, *LIDS}))
STEADY = tuple(index for index in range(NUM_MESH_POINTS) if index not in set(MOBILE))
# The noise is what third differences have in calm moments: a third of them lie below this many of their deviations.
CALM_SHARE, CALM_DEVIATIONS = 0.35, 0.4538
THIRD_DIFFERENCE_GAIN = 20**0.5
# Points are taken in groups, so that a long track is not copied several times over.
POINTS_AT_ONCE = 39


def smooth_track(track: FaceTrack, frame_rate: Fraction) -> FaceTrack:
    """The same track with finite points in every frame, smoothed without lag within each shot.

    Frames that had no usable face get theirs from their neighbours in the same shot; a shot without any takes the
    nearest found frame's. ``is_found`` and ``reject_reason`` stay as they were. Raises AvatarError when no frame has a
    face.
    """
    points = _fill(track)
    shots = shots_of(track.is_cut)
    noise_px = _noise_px(track.points, shots)
    halves = sorted({max(1, round(window_s * float(frame_rate))) for window_s in WINDOWS_S})
    windows = {shot.stop - shot.start: _windows(halves, shot.stop - shot.start) for shot in shots}
    for first in range(0, NUM_MESH_POINTS, POINTS_AT_ONCE):
        group = np.arange(first, min(first + POINTS_AT_ONCE, NUM_MESH_POINTS))
        limits = noise_px * np.where(np.isin(group, MOBILE), MOBILE_TOLERANCE, TOLERANCE)
        for shot in shots:
            points[shot, group] = _adaptive_smooth(
                points[shot, group].astype(np.float64), windows[shot.stop - shot.start], limits
            )
    return replace(track, points=points)


def _fill(track: FaceTrack) -> FloatArray:
    """A copy without NaN: straight lines over gaps, the nearest points at a shot's ends and in a shot without any."""
    found = np.flatnonzero(track.is_found)
    if not len(found):
        raise AvatarError("no frame shows a face")
    points: FloatArray = track.points.copy()
    for shot in shots_of(track.is_cut):
        frames = np.arange(shot.start, shot.stop)
        missing = frames[~track.is_found[shot]]
        own = found[(found >= shot.start) & (found < shot.stop)]
        known = own if len(own) else found
        after = np.clip(np.searchsorted(known, missing), 0, len(known) - 1)
        before = np.clip(np.searchsorted(known, missing) - 1, 0, len(known) - 1)
        if not len(own):
            after = before = np.where(missing - known[before] <= np.abs(known[after] - missing), before, after)
        span = np.maximum(known[after] - known[before], 1)
        share = np.clip((missing - known[before]) / span, 0, 1)[:, None, None].astype(np.float32)
        points[missing] = (1 - share) * points[known[before]] + share * points[known[after]]
    return points


def _noise_px(points: FloatArray, shots: list[slice]) -> float:
    """Standard deviation of the net's noise in one coordinate of a point, from the calm moments of a track.

    Third differences, since a head's motion hardly has any. Frames that repeat the one before have none either, and do
    not count.
    """
    steady = points[:, list(STEADY)]
    thirds = np.concatenate([np.abs(np.diff(steady[shot], n=3, axis=0)).ravel() for shot in shots])
    thirds = thirds[np.isfinite(thirds) & (thirds > 0)]
    if not len(thirds):
        return 0.0
    return _quantile(thirds, CALM_SHARE) / CALM_DEVIATIONS / THIRD_DIFFERENCE_GAIN


def _quantile(values: NDArray[np.floating], share: float) -> float:
    """Interpolated between two values; not numpy's, which takes long to import."""
    at = share * (len(values) - 1)
    before, after = int(at), min(int(at) + 1, len(values) - 1)
    ordered = np.partition(values, (before, after))
    return float(ordered[before]) + (at - before) * (float(ordered[after]) - float(ordered[before]))


def _windows(halves: list[int], count: int) -> list[Doubles]:
    """The weights of each window for a shot of ``count`` frames, which must be longer than half of it."""
    return [_parabola(min(half, count - 1)) for half in halves] if count >= 3 else []


def _adaptive_smooth(paths: Doubles, windows: list[Doubles], limits_px: Doubles) -> Doubles:
    """Smooth ``paths`` (n, points, 2) of one shot; ``limits_px`` (points,) is how far a window may move a point."""
    if not limits_px.all():
        return paths
    for weights in windows:
        longer = _convolve(paths, weights)
        step = longer - paths
        # Trust changes over a few frames, not from one to the next, where it would be a jitter of its own.
        away = _convolve(step[..., 0] ** 2 + step[..., 1] ** 2, np.array([0.25, 0.5, 0.25])).clip(0)
        trust = 1 / (1 + (away / limits_px**2) ** 2)
        paths = paths + trust[..., None] * step
    return paths


def _parabola(half: int) -> Doubles:
    """Weights over 2 · half + 1 frames that give the middle of the parabola fitted to them, near frames counting more.

    The near frames' weights are the tricube of LOESS (Cleveland, 1979).
    """
    at = np.arange(-half, half + 1)
    near = (1 - (np.abs(at) / (half + 1)) ** 3) ** 3
    powers = np.vander(at, 3, increasing=True).astype(np.float64)
    return np.asarray(np.linalg.solve(powers.T @ (near[:, None] * powers), powers.T * near)[0])


def _convolve(paths: Doubles, weights: Doubles) -> Doubles:
    """Along the first axis; beyond the ends the path goes on as its mirror image through the end point."""
    half, count = len(weights) // 2, len(paths)
    before, after = 2 * paths[0] - paths[half:0:-1], 2 * paths[-1] - paths[-2 : -half - 2 : -1]
    longer = np.concatenate([before, paths, after])
    return np.asarray(sum(weight * longer[i : i + count] for i, weight in enumerate(weights)))
