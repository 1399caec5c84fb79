"""Landmarks of a face → inner lip contours as y(x), float32 (96,) each, and the seam where closed lips meet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from musetalk_cli.engine.avatar.landmarks import Landmarks
from musetalk_cli.engine.models.warp.face.geometry import (
    EYES_PER_MOUTH,
    FloatArray,
    MouthAxes,
    even_steps,
    smooth_curve,
    smoothstep,
    transform_points,
)

# Where open lips meet: share of the way from the upper lip to the line between the corners, by the gap in mouth units.
_CLOSE_TO_CORNERS = ((0.25, 0.5), (0.65, 0.85))
# Share of the gap, by its size, that the upper lip closes at least: a smile has raised it.
_LEAST_DROP = ((0.12, 0.3), (0.12, 0.3))
_CLOSED_GAP = (0.006, 0.016)  # below the first, lips count as closed; above the second, the gap counts in full
# Of the corners of an open mouth, outwards, by its gap: its dark interior reaches beyond the landmarks. Mouth units.
_CORNER_INSET = ((0.3, 0.5), (0.035, 0.06))
_SMILE_WIDTH = (1.0, 1.25)  # of a mouth that smiles a little, and in full, relative to what its eyes let expect
_EDGE_GAP = (0.02, 0.1)  # from the first on, an edge lies beside the landmarks; above the second, in full
_LIP_INSET = 0.018  # of an open mouth's lip edges: landmarks lie a little inside the teeth


@dataclass(frozen=True)
class LipContours:
    """The image's inner lip contours as functions of x, mouth units: float32 (n,) each, x ascending.

    ``upper`` and ``lower`` are equal where the lips touch; ``closed`` is where they meet once closed. ``half_width``
    and ``middle`` (x) are those of the inner mouth. ``own_gap`` is the widest gap that the image shows; 0 for closed
    lips.
    """

    x: FloatArray
    upper: FloatArray
    lower: FloatArray
    closed: FloatArray
    middle: float
    half_width: float
    own_gap: float

    @classmethod
    def of(cls, face: Landmarks, axes: MouthAxes) -> LipContours:
        """Measure the inner lips of a face."""
        curves = [
            smooth_curve(transform_points(axes.from_image, points))
            for points in (face.inner_upper_lip, face.inner_lower_lip)
        ]
        left, right = (float((curves[0][k, 0] + curves[1][k, 0]) / 2) for k in (0, -1))
        x = even_steps(left, right, 96)
        upper = _as_function(curves[0], x)
        lower = np.maximum(_as_function(curves[1], x), upper)
        widest = (lower - upper).max()
        wider = float(np.interp(widest, *_CORNER_INSET) * smoothstep(widest, 0.08, 0.3))
        left, right = left - wider, right + wider
        x = even_steps(left, right, 96)
        # The gap sets in smoothly, so that nothing jumps where a video's lips part.
        apart = (lower - upper) / 2 * smoothstep((lower - upper).max(), *_CLOSED_GAP)
        inset = np.float32(_LIP_INSET) * smoothstep(2 * apart, 0.0, 0.04)
        upper, lower = (upper + lower) / 2 - apart - inset, (upper + lower) / 2 + apart + inset
        gap = lower - upper
        straight = even_steps(upper[0] + lower[0], upper[-1] + lower[-1], len(x)) / 2
        # An open mouth's upper lip is an arch. Lips that met along it would look sad.
        settled = upper + np.float32(np.interp(gap.max(), *_CLOSE_TO_CORNERS)) * (straight - upper)
        least = np.float32(np.interp(gap.max(), *_LEAST_DROP))
        closed = np.clip(settled, upper + least * gap, lower - np.float32(0.3) * gap)
        half_width = max((right - left) / 2, 0.05)
        return cls(x, upper, lower, closed, (left + right) / 2, half_width, float(gap.max()))

    def along(self, line: FloatArray, side: FloatArray) -> FloatArray:
        """Points (n, 2) on one of the contours, ``side`` (n,) from -1 in the left corner to 1 in the right one."""
        x = self.middle + side * self.half_width
        return np.column_stack([x, np.interp(x, self.x, line)]).astype(np.float32)


def smile_of(face: Landmarks) -> float:
    """How far a face smiles, 0..1: from how wide its mouth is."""
    mouth = np.linalg.norm(face.outer_upper_lip[-1] - face.outer_upper_lip[0])
    eyes = np.linalg.norm(face.right_upper_lid[-1] - face.left_upper_lid[0])
    return float(smoothstep(mouth * EYES_PER_MOUTH / max(eyes, 1e-6), *_SMILE_WIDTH))


@dataclass(frozen=True)
class LipClosure:
    """How the lips close: from the mouth that an image shows (``own``) to a closed one (``rest.closed``), mouth units.

    ``rest``: the contours of the same head with its mouth at rest, though perhaps not closed.
    """

    own: LipContours
    rest: LipContours

    @classmethod
    def of(cls, face: Landmarks, rest: Landmarks, axes: MouthAxes) -> LipClosure:
        """Measure a face's lips and those of the same head at rest; pass the same object where no rest is known."""
        own = LipContours.of(face, axes)
        return cls(own, own if rest is face else LipContours.of(rest, axes))

    @property
    def seam_middle(self) -> tuple[float, float]:
        """The middle of the seam once the lips are closed, x and y in mouth units."""
        x = float(np.float32(self.rest.middle))
        return x, float(np.float32(np.interp(x, self.rest.x, self.rest.closed)))

    @property
    def lower_lip_drop(self) -> float:
        """Distance in the middle from the closed seam down to the lower lip at rest, mouth units."""
        middle = len(self.rest.x) // 2
        return float(self.rest.lower[middle] - self.rest.closed[middle])

    def inner_displacement(self, side: FloatArray, is_lower: bool) -> FloatArray:
        """Displacement (n, 2) that closes an inner contour, at ``side`` (n,) from corner (-1) to corner (1)."""
        line = self.own.lower if is_lower else self.own.upper
        displacement = self.rest.along(self.rest.closed, side) - self.own.along(line, side)
        return np.asarray(displacement, dtype=np.float32)

    def edge_of(self, contour: FloatArray, side: FloatArray, is_lower: bool) -> FloatArray:
        """The edge of a lip, (n, 2): its ``contour`` (n, 2) of landmarks, as far as an open mouth is drawn beyond it.

        ``side`` (n,): of the contour's points, from corner (-1) to corner (1).
        """
        edge = self.own.along(self.own.lower if is_lower else self.own.upper, side)
        return contour + smoothstep(np.float32(self.own.own_gap), *_EDGE_GAP) * (edge - contour)

    def outer_displacement(self, side: FloatArray, is_lower: bool) -> FloatArray:
        """Displacement (n,) in y that closes the lips from rest, at ``side`` (n,) of an outer contour."""
        line = self.rest.lower if is_lower else self.rest.upper
        x = side * self.rest.half_width + self.rest.middle
        return np.asarray(np.interp(x, self.rest.x, self.rest.closed - line), dtype=np.float32)


def lip_heights(face: Landmarks, axes: MouthAxes) -> tuple[float, float]:
    """Heights of the upper and the lower lip in the middle, mouth units."""
    pairs = ((face.outer_upper_lip, face.inner_upper_lip), (face.inner_lower_lip, face.outer_lower_lip))
    upper, lower = (float(np.linalg.norm((a - b)[4:7], axis=1).mean()) / axes.unit_px for a, b in pairs)
    return upper, lower


def _as_function(curve: FloatArray, x: FloatArray) -> FloatArray:
    """y at ``x`` of a curve that runs left to right. Points are sorted: on a turned head a few may step back."""
    order = np.argsort(curve[:, 0], kind="stable")
    return np.asarray(np.interp(x, curve[order, 0], curve[order, 1]), dtype=np.float32)
