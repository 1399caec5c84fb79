"""The inner contours of an image's lips, and where they meet once they are closed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from musetalk_cli.engine.avatar.landmarks import Landmarks
from musetalk_cli.engine.models.warp.face.geometry import (
    FloatArray,
    MouthAxes,
    smooth_curve,
    smoothstep,
    transform_points,
)

_CLOSE_TO_CORNERS = 0.65  # how far an open image's seam settles from the upper lip towards the line of the corners
_CLOSED_GAP = (0.006, 0.016)  # up to the first an image's lips count as closed, from the second as seen
_CORNER_INSET = 0.035  # of the corners of one that is wide open: the dark reaches further than landmarks do
_LIP_INSET = 0.018  # of an open image's lip edge: landmarks run a little inside the teeth


@dataclass(frozen=True)
class LipLines:
    """The image's inner lip contours, in mouth units, as functions of x: float32 (n,) each, x ascending.

    ``upper`` and ``lower`` are equal where the lips touch; ``closed`` is where they are to meet. ``half_width`` is that
    of the inner mouth, ``middle`` its x. ``own_gap`` is the gap the image shows, at its widest; 0 for closed lips.
    """

    x: FloatArray
    upper: FloatArray
    lower: FloatArray
    closed: FloatArray
    middle: float
    half_width: float
    own_gap: float

    @classmethod
    def of(cls, face: Landmarks, axes: MouthAxes) -> LipLines:
        """Measure the inner lips of a face."""
        curves = [
            smooth_curve(transform_points(axes.from_image, points))
            for points in (face.inner_upper_lip, face.inner_lower_lip)
        ]
        left, right = (float((curves[0][k, 0] + curves[1][k, 0]) / 2) for k in (0, -1))
        x = np.linspace(left, right, 96, dtype=np.float32)
        upper = _as_function(curves[0], x)
        lower = np.maximum(_as_function(curves[1], x), upper)
        wider = _CORNER_INSET * float(smoothstep((lower - upper).max(), 0.08, 0.3))
        left, right = left - wider, right + wider
        x = np.linspace(left, right, 96, dtype=np.float32)
        # Nothing may jump where a video's lips part, so what counts as a gap sets in smoothly.
        apart = (lower - upper) / 2 * smoothstep((lower - upper).max(), *_CLOSED_GAP)
        inset = np.float32(_LIP_INSET) * smoothstep(2 * apart, 0.0, 0.04)
        upper, lower = (upper + lower) / 2 - apart - inset, (upper + lower) / 2 + apart + inset
        gap = lower - upper
        straight = np.linspace(upper[0] + lower[0], upper[-1] + lower[-1], len(x), dtype=np.float32) / 2
        # An open mouth's upper lip is an arch; lips that met along it would look sad.
        settled = upper + np.float32(_CLOSE_TO_CORNERS) * (straight - upper)
        closed = np.clip(settled, upper + np.float32(0.12) * gap, lower - np.float32(0.3) * gap)
        half_width = max((right - left) / 2, 0.05)
        return cls(x, upper, lower, closed, (left + right) / 2, half_width, float(gap.max()))

    def along(self, line: FloatArray, side: FloatArray) -> FloatArray:
        """Points (n, 2) on one of the contours, ``side`` (n,) from -1 in the left corner to 1 in the right one."""
        x = self.middle + side * self.half_width
        return np.column_stack([x, np.interp(x, self.x, line)]).astype(np.float32)


@dataclass(frozen=True)
class Closing:
    """The way from the mouth that an image shows (``own``) to one that is shut (``rest.closed``), in mouth units."""

    own: LipLines
    rest: LipLines

    @classmethod
    def of(cls, face: Landmarks, rest: Landmarks, axes: MouthAxes) -> Closing:
        """Measure a face's lips, and those of the same head at rest (the same object, when nothing is known of it)."""
        own = LipLines.of(face, axes)
        return cls(own, own if rest is face else LipLines.of(rest, axes))

    @property
    def seam_middle(self) -> tuple[float, float]:
        """The middle of the seam once the lips are closed, x and y in mouth units."""
        x, y = self.rest.along(self.rest.closed, np.zeros(1, dtype=np.float32))[0]
        return float(x), float(y)

    @property
    def hang(self) -> float:
        """How far the lower lip at rest hangs below where the lips are to meet, in the middle."""
        middle = len(self.rest.x) // 2
        return float(self.rest.lower[middle] - self.rest.closed[middle])

    def inner(self, side: FloatArray, is_lower: bool) -> FloatArray:
        """Way (n, 2) of an inner contour's points, from corner (-1) to corner (1)."""
        line = self.own.lower if is_lower else self.own.upper
        way = self.rest.along(self.rest.closed, side) - self.own.along(line, side)
        return np.asarray(way, dtype=np.float32)

    def outer(self, side: FloatArray, is_lower: bool) -> FloatArray:
        """Way (n,) in y that the lips at rest still have to go, the same for an outer contour's points."""
        line = self.rest.lower if is_lower else self.rest.upper
        x = side * self.rest.half_width + self.rest.middle
        return np.asarray(np.interp(x, self.rest.x, self.rest.closed - line), dtype=np.float32)


def _as_function(curve: FloatArray, x: FloatArray) -> FloatArray:
    """y over x of a curve that runs left to right (small steps back, as a turned head gives, are sorted out)."""
    order = np.argsort(curve[:, 0], kind="stable")
    return np.asarray(np.interp(x, curve[order, 0], curve[order, 1]), dtype=np.float32)
