"""The two layers of skin around a mouth: where each is taken from, and which of them a point belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from musetalk_cli.engine.models.warp.face.fields import compute_fields
from musetalk_cli.engine.models.warp.face.geometry import FloatArray, multiply, smoothstep, transform_points
from musetalk_cli.engine.models.warp.face.lips import Closing
from musetalk_cli.engine.models.warp.face.motion import COMPONENTS, TUCK
from musetalk_cli.engine.models.warp.face.pose import MouthPose
from musetalk_cli.engine.models.warp.face.sampling import look_up

_INVERSE_STEPS = 3
_LEAST_SLOPE = 0.3
_SEAM_SPREAD = 0.6  # how fast the seam softens beyond the corners: pixels per pixel


def _newton_rates(along: Sequence[Any]) -> list[FloatArray]:
    """1 / (1 + slope) of a displacement's x along x and its y along y (two planes), per node."""
    rates = []
    for k, plane in enumerate(along):
        slope = cv2.Sobel(plane, cv2.CV_32F, 1 - k, k, ksize=1, scale=0.5, borderType=cv2.BORDER_REPLICATE)
        rates.append(np.asarray(1 / np.maximum(slope + np.float32(1), np.float32(_LEAST_SLOPE)), dtype=np.float32))
    return rates


@dataclass(frozen=True)
class Claims:
    """What points of the output are part of; all float32 (rows, columns).

    ``upper``, ``lower``: pixels inside the upper lip's side and inside the lower's (both negative: between the lips).
    ``softness``: of the seam, pixels. ``inward``: distance to the nearer corner of the inner mouth, mouth units
    (negative outside).
    """

    upper: FloatArray
    lower: FloatArray
    softness: FloatArray
    inward: FloatArray

    @classmethod
    def unstack(cls, stacked: FloatArray) -> Claims:
        """From one array (rows, columns, 4), in the order above."""
        return cls(*(np.asarray(plane, dtype=np.float32) for plane in cv2.split(stacked)))

    def upper_share(self, least_softness: float) -> FloatArray:
        """Share of the upper layer, 0..1."""
        soft = np.maximum(self.softness, least_softness)
        return np.asarray(np.clip(0.5 + (self.upper - self.lower) / (4 * soft), 0, 1), dtype=np.float32)

    @property
    def cover(self) -> FloatArray:
        """How much of each pixel lies between the lips, 0..1."""
        outside = np.clip(0.5 - self.upper, 0, 1) + np.clip(0.5 - self.lower, 0, 1) - 1
        # A sliver of dark in the corners would read as a tick.
        return np.asarray(np.maximum(outside, 0) * smoothstep(self.inward, 0.0, 0.035), dtype=np.float32)


class MouthLayers:
    """Displacement of both layers over a rectangular grid of nodes; immutable."""

    def __init__(self, pose: MouthPose, closing: Closing, nodes: FloatArray, cell_px: int) -> None:
        """``nodes`` (rows, columns, 2): positions in pixels, ``cell_px`` apart, in the image that ``pose`` is of."""
        axes = pose.axes
        self._axes, self._lips, self._cell_px = axes, closing.own, cell_px
        self._origin = nodes[0, 0]
        fields = compute_fields(pose, closing, transform_points(axes.from_image, nodes))
        to_cells = axes.to_image * np.float32(1 / cell_px) * np.array([1, 1, 0], dtype=np.float32)
        self._fields = transform_points(to_cells, fields).reshape(len(COMPONENTS), -1)
        self._shape = fields.shape[1:]

    def trace(self, weights: FloatArray, targets: FloatArray) -> FloatArray:
        """Where the skin seen at ``targets`` (rows, columns, 2; pixels) comes from, per layer: (2, rows, columns, 2).

        The fields say where a point of the image goes; what is needed is where an output pixel comes from: the root
        of ``place + field(place) - target``, by Newton's method with the diagonal of the Jacobian alone, which also
        settles where the skin is stretched too much for plain fixed-point iteration.
        """
        forward = multiply(weights[None], self._fields).reshape(self._shape)
        start = (targets - self._origin) * np.float32(1 / self._cell_px)
        start_x, start_y = cv2.split(start)
        traced = np.empty_like(forward)
        for layer, field in enumerate(forward):
            along = cv2.split(field)
            steps = cv2.merge([*along, *_newton_rates(along)])
            x, y = start_x - along[0], start_y - along[1]
            for _ in range(_INVERSE_STEPS):
                move_x, move_y, rate_x, rate_y = cv2.split(look_up(steps, cv2.merge([x, y])))
                x, y = x + rate_x * (start_x - x - move_x), y + rate_y * (start_y - y - move_y)
            traced[layer, ..., 0], traced[layer, ..., 1] = x, y
        return np.asarray(traced * np.float32(self._cell_px) + self._origin, dtype=np.float32)

    def claim(self, traced: FloatArray, tuck: float) -> FloatArray:
        """Which side each node is on, from its traced positions: the four arrays of :class:`Claims`, stacked last.

        ``tuck`` 0..1: how far the lower lip is drawn in behind the upper teeth.
        """
        lips, unit_px = self._lips, self._axes.unit_px
        relative = (lips.x - lips.middle) / lips.half_width
        tucked = lips.lower + tuck * TUCK * (1 - relative**2)
        to_units = self._axes.from_image
        planes, away = [], np.float32(0)
        for layer, line, sign in ((0, lips.upper, unit_px), (1, tucked, -unit_px)):
            x_px, y_px = cv2.split(traced[layer])
            x, y = (row[0] * x_px + row[1] * y_px + row[2] for row in to_units)
            inside = (np.float32(sign) * (np.interp(x, lips.x, line) - y)).astype(np.float32)
            # Edges stretched by the warp keep their width on screen.
            slope = cv2.magnitude(*(cv2.Sobel(inside, cv2.CV_32F, dx, 1 - dx, ksize=1) for dx in (0, 1)))
            planes.append(inside / np.maximum(slope * np.float32(0.5 / self._cell_px), np.float32(0.5)))
            away = away + np.abs(x - np.float32(lips.middle)) / 2
        inward = np.float32(lips.half_width) - away
        softness = np.maximum(-inward, 0) * np.float32(_SEAM_SPREAD * unit_px) + np.float32(0.5)
        return np.asarray(cv2.merge([*planes, softness, inward]), dtype=np.float32)
