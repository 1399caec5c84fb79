"""Landmarks of a face → the mouth's coordinate system, and the affine matrices (2, 3) between it and pixels.

Also the curve and smoothing functions that the other modules share.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.landmarks import Landmarks

FloatArray = NDArray[np.float32]

# Distance between the outer eye corners, in mouth widths, of a face at rest: median over closed-mouth frames.
EYES_PER_MOUTH = 1.85


@dataclass(frozen=True)
class MouthAxes:
    """The mouth's coordinate system: origin between the corners, x to the right along the mouth, y towards the chin.

    One mouth unit (``unit_px`` pixels) is about the width of the mouth at rest. It is the mean of the corners' distance
    and of the width expected from the eyes' distance, so that pursing or laughing changes the scale only by half.
    """

    origin_px: FloatArray
    x_axis: FloatArray
    unit_px: float

    @classmethod
    def of(cls, face: Landmarks) -> MouthAxes:
        """The axes of a face, from its mouth corners and outer eye corners."""
        corners = face.outer_upper_lip[[0, -1]].astype(np.float64)
        eyes = np.stack([face.left_upper_lid[0], face.right_upper_lid[-1]]).astype(np.float64)
        mouth_span, eye_span = corners[1] - corners[0], eyes[1] - eyes[0]
        direction = mouth_span + eye_span
        unit = (np.hypot(*mouth_span) + np.hypot(*eye_span) / EYES_PER_MOUTH) / 2
        return cls(
            corners.mean(axis=0).astype(np.float32),
            (direction / max(np.hypot(*direction), 1e-6)).astype(np.float32),
            max(float(unit), 1.0),
        )

    @cached_property
    def to_image(self) -> FloatArray:
        """2×3 affine matrix: mouth units to pixels."""
        (cx, cy), (ux, uy) = self.origin_px, self.x_axis * self.unit_px
        return np.array([[ux, -uy, cx], [uy, ux, cy]], dtype=np.float32)

    @cached_property
    def from_image(self) -> FloatArray:
        """2×3 affine matrix: pixels to mouth units."""
        (cx, cy), (ux, uy) = self.origin_px, self.x_axis / self.unit_px
        return np.array([[ux, uy, -(ux * cx + uy * cy)], [-uy, ux, uy * cx - ux * cy]], dtype=np.float32)


def transform_points(matrix: FloatArray, points: FloatArray) -> FloatArray:
    """Apply a 2×3 affine matrix to points (..., 2)."""
    flat = np.ascontiguousarray(points, dtype=np.float32).reshape(-1, 1, 2)
    return np.asarray(cv2.transform(flat, matrix), dtype=np.float32).reshape(points.shape)


def multiply(left: FloatArray, right: FloatArray) -> FloatArray:
    """Matrix product on the calling thread alone, because a threaded BLAS stalls on a busy machine."""
    no_third_matrix: Any = None
    return np.asarray(cv2.gemm(left, right, 1, no_third_matrix, 0), dtype=np.float32)


def smooth_curve(points: FloatArray, num_points: int = 96) -> FloatArray:
    """Catmull-Rom curve through points (n, 2), sampled at (num_points, 2), ends included."""
    padded = np.vstack([2 * points[0] - points[1], points, 2 * points[-1] - points[-2]])
    index, t = _curve_positions(len(points), num_points)
    p0, p1, p2, p3 = (padded[index + k] for k in range(4))
    curve = p1 + 0.5 * t * (p2 - p0 + t * (2 * p0 - 5 * p1 + 4 * p2 - p3 + t * (3 * (p1 - p2) + p3 - p0)))
    return np.asarray(curve, dtype=np.float32)


@lru_cache(maxsize=8)
def _curve_positions(num_given: int, num_points: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Which of the given points each of a curve's points follows, and how far behind it, (n, 1)."""
    position = np.linspace(0, num_given - 1, num_points)
    index = np.minimum(position.astype(int), num_given - 2)
    return index, (position - index)[:, None]


def even_steps(first: float | np.float32, last: float | np.float32, count: int) -> FloatArray:
    """``np.linspace`` in a quarter of the time: the same values, float32 (count,)."""
    steps = _numbers(count, np.result_type(first, last, 0.0))
    values = steps * ((last - first) / (count - 1)) + first
    values[-1] = last
    return np.asarray(values, dtype=np.float32)


@lru_cache(maxsize=8)
def _numbers(count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    return np.arange(count, dtype=dtype)


def smoothstep(values: NDArray[Any] | np.float32, low: float, high: float) -> FloatArray:
    """0 below ``low``, 1 above ``high``, and the cubic 3t² - 2t³ between."""
    t = (values - low) / (high - low)
    # numpy takes ten times as long to clip one number.
    t = np.clip(t, 0, 1) if t.ndim else t if 0 <= t <= 1 or np.isnan(t) else t.dtype.type(t > 1)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)


def share_between(value: float, low: float, high: float) -> float:
    """:func:`smoothstep` of one number; at once where that is 0, as it mostly is."""
    return float(smoothstep(np.float32(value), low, high)) if value > low else 0.0
