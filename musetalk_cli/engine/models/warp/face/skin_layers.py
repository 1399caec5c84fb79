"""Component weights (8,) and grid nodes → where each node's skin comes from, and how far inside each layer it lies.

The skin around a mouth is two layers, that of the upper lip and that of the lower, because it tears along the seam of
the lips. Both are warped over the whole mouth; signed distances to the lips' edges say which one a pixel shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from musetalk_cli.engine.models.warp.face.control_points import COMPONENTS, TUCK
from musetalk_cli.engine.models.warp.face.displacement_fields import compute_fields
from musetalk_cli.engine.models.warp.face.geometry import FloatArray, MouthAxes, multiply, smoothstep, transform_points
from musetalk_cli.engine.models.warp.face.lip_contours import LipClosure, LipContours
from musetalk_cli.engine.models.warp.face.mouth_pose import MouthPose
from musetalk_cli.engine.models.warp.face.sampling import sample_bilinear
from musetalk_cli.engine.native import library

if TYPE_CHECKING:
    from musetalk_cli.engine.models.warp.native.mouth import NativeSkin

_INVERSE_STEPS = 3
_MIN_SLOPE = 0.3
_SEAM_SPREAD = 0.6  # softness of the seam, in pixels per pixel beyond the corners


def _newton_rates(along: Sequence[Any]) -> list[FloatArray]:
    """Step factors of Newton's method, per node: 1 / (1 + dx/dx) and 1 / (1 + dy/dy) of a displacement's two planes."""
    rates = []
    for k, plane in enumerate(along):
        slope = cv2.Sobel(plane, cv2.CV_32F, 1 - k, k, ksize=1, scale=0.5, borderType=cv2.BORDER_REPLICATE)
        rates.append(np.asarray(1 / np.maximum(slope + np.float32(1), np.float32(_MIN_SLOPE)), dtype=np.float32))
    return rates


@dataclass(frozen=True)
class LayerDistances:
    """Signed distances of output points to the edges of the two layers; all float32 (rows, columns).

    ``upper``, ``lower``: pixels inside the upper and the lower layer. Where both are negative, a point lies between the
    lips. ``softness``: width of the seam's transition, pixels. ``inward``: distance to the nearer corner of the inner
    mouth, mouth units, negative outside. ``upper_depth``, ``lower_depth``: pixels of the image inside the upper and the
    lower layer, before they are warped.
    """

    upper: FloatArray
    lower: FloatArray
    softness: FloatArray
    inward: FloatArray
    upper_depth: FloatArray
    lower_depth: FloatArray

    @classmethod
    def unstack(cls, stacked: FloatArray) -> LayerDistances:
        """From one array (rows, columns, 6), in the order above; (rows, columns, 4) where no depth is needed."""
        planes = [np.asarray(plane, dtype=np.float32) for plane in cv2.split(stacked)]
        upper, lower, softness, inward, *depths = planes
        return cls(upper, lower, softness, inward, *(depths or (upper, lower)))

    def upper_alpha(self, min_softness_px: float) -> FloatArray:
        """Opacity of the upper layer over the lower, 0..1."""
        soft = np.maximum(self.softness, min_softness_px)
        return np.asarray(np.clip(0.5 + (self.upper - self.lower) / (4 * soft), 0, 1), dtype=np.float32)

    def coverage(self, edge_px: float) -> FloatArray:
        """How much of each pixel lies between the lips, 0..1, whose edges are ``edge_px`` wide."""
        soft = np.float32(1 / edge_px)
        outside = np.clip(0.5 - self.upper * soft, 0, 1) + np.clip(0.5 - self.lower * soft, 0, 1) - 1
        # A dark sliver in the corners would show as an artefact.
        return np.asarray(np.maximum(outside, 0) * smoothstep(self.inward, 0.0, 0.035), dtype=np.float32)


class SkinLayers:
    """Displacement fields of both layers on a rectangular grid of nodes; immutable.

    ``native``: the same in C; None where there is no library. ``origin`` (2,): position of the first node, pixels.
    """

    native: NativeSkin | None

    def __init__(
        self,
        pose: MouthPose,
        lip_closure: LipClosure,
        nodes: FloatArray,
        cell_px: int,
    ) -> None:
        """Prepare them.

        Args:
            pose: The mouth's.
            lip_closure: How its lips close.
            nodes: Positions in pixels, ``cell_px`` apart, in the image that ``pose`` is of, (rows, columns, 2).
            cell_px: Their distance.
        """
        axes = pose.axes
        self._axes, self._lips, self._cell_px = axes, lip_closure.own, cell_px
        self.origin = nodes[0, 0].copy()
        self.native = _native_skin(axes, self._lips, cell_px) if min(nodes.shape[:2]) > 1 else None
        self._shape = (2, *nodes.shape)
        to_cells = axes.to_image * np.float32(1 / cell_px) * np.array([1, 1, 0], dtype=np.float32)
        fields = compute_fields(pose, lip_closure, transform_points(axes.from_image, nodes))
        self._fields = transform_points(to_cells, fields).reshape(len(COMPONENTS), -1)

    def backward_map(self, weights: FloatArray, targets: FloatArray) -> FloatArray:
        """Backward map: where the skin seen at ``targets`` comes from, float32 (2, rows, columns, 2): layer, node, x y.

        ``weights`` float32 (8,): of the displacement fields. ``targets`` (rows, columns, 2): positions in pixels.

        The fields are forward: they say where a point of the image goes. Sampling needs the inverse, the root of
        ``source + field(source) - target``. Newton's method finds it with the diagonal of the Jacobian alone; it also
        converges where the skin is stretched too much for plain fixed-point iteration.
        """
        if self.native is not None:
            fields, shares = self.fields_for(weights)
            return self.native.backward_map(fields, np.array(shares, np.float32), targets, self.origin)
        forward = multiply(weights[None], self._fields).reshape(self._shape)
        start = (targets - self.origin) * np.float32(1 / self._cell_px)
        start_x, start_y = cv2.split(start)
        mapped = np.empty_like(forward)
        for layer, field in enumerate(forward):
            along = cv2.split(field)
            steps = cv2.merge([*along, *_newton_rates(along)])
            x, y = start_x - along[0], start_y - along[1]
            for _ in range(_INVERSE_STEPS):
                move_x, move_y, rate_x, rate_y = cv2.split(sample_bilinear(steps, cv2.merge([x, y])))
                x, y = x + rate_x * (start_x - x - move_x), y + rate_y * (start_y - y - move_y)
            mapped[layer, ..., 0], mapped[layer, ..., 1] = x, y
        return np.asarray(mapped * np.float32(self._cell_px) + self.origin, dtype=np.float32)

    def fields_for(self, weights: FloatArray) -> tuple[FloatArray, list[float]]:
        """Fields for C, float32 (n, 2, rows, columns, 2), cells, and their n weights, for component ``weights``."""
        return self._fields.reshape(-1, *self._shape), weights.tolist()

    def layer_distances(self, mapped: FloatArray, tuck: float) -> FloatArray:
        """The arrays of :class:`LayerDistances` for each node, float32 (rows, columns, 4 or 6).

        The depths are left out where the image shows closed lips.

        ``mapped``: as from :meth:`backward_map`. ``tuck`` 0..1: how far the lower lip is tucked behind the upper teeth.
        """
        if self.native is not None:
            return self.native.layer_distances(mapped, tuck)
        lips, unit_px = self._lips, self._axes.unit_px
        relative = (lips.x - lips.middle) / lips.half_width
        tucked = lips.lower + tuck * TUCK * (1 - relative**2)
        to_units = self._axes.from_image
        planes, depths, away = [], [], np.float32(0)
        for layer, line, sign in ((0, lips.upper, unit_px), (1, tucked, -unit_px)):
            x_px, y_px = cv2.split(mapped[layer])
            x, y = (row[0] * x_px + row[1] * y_px + row[2] for row in to_units)
            inside = (np.float32(sign) * (np.interp(x, lips.x, line) - y)).astype(np.float32)
            # Divided by the warp's own slope, so that stretched edges keep their width on screen.
            slope = cv2.magnitude(*(cv2.Sobel(inside, cv2.CV_32F, dx, 1 - dx, ksize=1) for dx in (0, 1)))
            depths.append(inside)
            planes.append(inside / np.maximum(slope * np.float32(0.5 / self._cell_px), np.float32(0.5)))
            away = away + np.abs(x - np.float32(lips.middle)) / 2
        inward = np.float32(lips.half_width) - away
        softness = np.maximum(-inward, 0) * np.float32(_SEAM_SPREAD * unit_px) + np.float32(0.5)
        stacked = [*planes, softness, inward, *(depths if lips.own_gap else [])]
        return np.asarray(cv2.merge(stacked), dtype=np.float32)


def _native_skin(axes: MouthAxes, lips: LipContours, cell_px: int) -> NativeSkin | None:
    native = library.load()
    if native is None:
        return None
    from musetalk_cli.engine.models.warp.native.mouth import Contours, NativeSkin  # imports ctypes

    step_x = float(lips.x[-1] - lips.x[0]) / (len(lips.x) - 1)
    contours = Contours(lips.upper, lips.lower, float(lips.x[0]), step_x, lips.middle, lips.half_width, TUCK)
    return NativeSkin(native, contours, (axes.from_image, axes.unit_px), cell_px, bool(lips.own_gap))
