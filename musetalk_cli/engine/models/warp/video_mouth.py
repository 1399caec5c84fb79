"""The mouth of one frame of a video, in C: its landmarks → what draws it, and a mouth shape (6,) → what it does.

It is what :class:`MouthWarp` is for a still and for numpy. But a frame is rendered once or twice, so that only the
displacement of one mouth shape is computed at a time.
"""

from __future__ import annotations

import ctypes

import cv2
import numpy as np

from musetalk_cli.engine.models.warp.face.control_points import COMPONENTS, TUCK
from musetalk_cli.engine.models.warp.face.displacement_fields import FADE, REACH, component_parts
from musetalk_cli.engine.models.warp.face.geometry import FloatArray, MouthAxes
from musetalk_cli.engine.models.warp.face.mouth_interior import Articulation, MouthInterior, TeethPlacement
from musetalk_cli.engine.models.warp.face.mouth_warp import component_weights, rim_depths, wanted_opening
from musetalk_cli.engine.models.warp.face.sampling import Box, Grid
from musetalk_cli.engine.models.warp.native.face import MouthMotion, NativeMouth
from musetalk_cli.engine.models.warp.native.mouth import Contours, NativeSkin
from musetalk_cli.engine.models.warp.native.points import FrameAxes, MouthPoints, lip_lines, measure_mouth
from musetalk_cli.engine.models.warp.native.splines import NativeSplines, SplineNodes, fade_at_outline
from musetalk_cli.engine.types.colour import ByteArray

_PARTS = component_parts()
_TUCKED = COMPONENTS.index("labiodental")
_OVAL = slice(95, 131)  # of all landmarks
_SUBPIXEL_BITS = 4  # of a polygon's corners


class VideoMouth:
    """A mouth in one frame; immutable and thread-safe."""

    def __init__(
        self,
        library: ctypes.CDLL,
        marks: tuple[FloatArray, FloatArray],
        axes: MouthAxes,
        corner: FloatArray,
        grid: Grid,
        boxes: tuple[Box, Box, Box],
        interior: MouthInterior,
    ) -> None:
        """Prepare it.

        Args:
            library: The native kernel.
            marks: All landmarks that the frame shows, and those of its head at rest, float32 (131, 2), its pixels.
            axes: The mouth's, in the frame's pixels.
            corner: Position in the frame of the first pixel of the region that changes, float32 (2,).
            grid: Over that region, whose first pixel counts as 0, 0.
            boxes: As from ``mouth_boxes``, of at least MIN_NODES nodes across and down.
            interior: The inside of the mouth, in C.
        """
        unit_px = axes.unit_px
        points = measure_mouth(
            library, *marks, FrameAxes(axes.origin_px.tolist(), axes.x_axis.tolist(), unit_px, corner.tolist())
        )
        nodes, numbers = grid.nodes[boxes[0]], points.numbers
        first = nodes[0, 0].copy()
        outline = marks[0][_OVAL] - (first + corner)
        inside = fade_at_outline(library, _fill(outline, nodes, grid.cell_px), unit_px / grid.cell_px, numbers.yaw)
        at = SplineNodes(first.tolist(), grid.cell_px, points.to_units, REACH, FADE, inside)
        self._splines = NativeSplines(points, _PARTS, at)
        self._half_width = numbers.half_width if numbers.own_gap else 0.0
        self._interior, self._to_units = interior, _from_box(points.to_units, boxes[2])
        self._placement = TeethPlacement((numbers.seam_x, numbers.seam_y), numbers.drop, numbers.yaw)
        self._native = _native_mouth(points, boxes, first, grid.cell_px, unit_px, interior)

    def motion(self, shape: FloatArray) -> MouthMotion:
        """What it does for a mouth shape O, J, W, P, F, T, float32 (6,), within its ranges."""
        weights = component_weights(shape)
        return MouthMotion(
            *(self._native, self._splines.displace(weights)[None], [1.0], float(weights[_TUCKED])),
            wanted_opening(weights, self._half_width) if self._half_width else None,
            self._interior.native_pose(self._placement, self._to_units, Articulation.of(shape)),
        )


def _native_mouth(
    points: MouthPoints,
    boxes: tuple[Box, Box, Box],
    first_px: FloatArray,
    cell_px: int,
    unit_px: float,
    interior: MouthInterior,
) -> NativeMouth:
    numbers, own = points.numbers, lip_lines(points.lines[0])
    is_open, rims = numbers.own_gap > 0, None
    if is_open:
        rims = rim_depths(numbers.own_gap, (numbers.upper_lip, numbers.lower_lip))
    contours = Contours(
        *(own.upper, own.lower, numbers.first_x, numbers.step_x, numbers.middle, numbers.half_width, TUCK)
    )
    skin = NativeSkin(points.library, contours, (points.to_units, unit_px), cell_px, is_open)
    if interior.native is None:
        raise ValueError("the inside of the mouth is numpy's")
    return NativeMouth(skin, interior.native, boxes, first_px, rims, numbers.own_gap, interior.edge_px)


def _fill(outline_px: FloatArray, nodes: FloatArray, cell_px: int) -> ByteArray:
    """1 for the nodes (h, w, 2) within a face's outline (n, 2), which is given from the first of them on."""
    corners = np.rint(outline_px * np.float32((1 << _SUBPIXEL_BITS) / cell_px)).astype(np.int32)
    mask = np.zeros(nodes.shape[:2], np.uint8)
    cv2.fillPoly(mask, [corners], 1, cv2.LINE_8, _SUBPIXEL_BITS)
    return mask


def _from_box(to_units: FloatArray, lips_px: Box) -> FloatArray:
    """The affine matrix (2, 3) ``to_units`` for pixels of the lips' box."""
    (a, b, x), (c, d, y) = to_units.tolist()
    top, left = lips_px[0].start, lips_px[1].start
    return np.array([[a, b, a * left + b * top + x], [c, d, c * left + d * top + y]], np.float32)
