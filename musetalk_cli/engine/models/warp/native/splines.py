"""Calls splines.c, displace.c and outline.c: thin-plate splines through the motion of control points, for one mouth
shape, and where they fade out."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, byref, c_float, c_int32, c_size_t, c_void_p
from dataclasses import dataclass
from typing import Any

import numpy as np

from musetalk_cli.engine.models.warp.native.arrays import address, declare, pointer, structure
from musetalk_cli.engine.models.warp.native.points import NUM_SHARED, MouthPoints
from musetalk_cli.engine.types.colour import ByteArray
from musetalk_cli.engine.types.messages import FloatArray

NUM_PARTS = 4
MIN_SHARED = 3  # POLES of splines.c
_FLOAT = np.dtype(np.float32)

_Splines = structure(
    "Splines",
    **dict.fromkeys(("points", "solved", "parts"), c_void_p),
    **dict.fromkeys(("num_shared", "count", "num_sides"), c_int32),
)
_SplineNodes = structure(
    "SplineNodes",
    inside=c_void_p,
    **dict.fromkeys(("rows", "columns"), c_int32),
    numbers=c_float * 16,  # first, across, down, reach, fade, to_cells: one array takes a fifth of the time of six
)
_Numbers = c_float * 16
_PARAMETERS: dict[str, list[Any]] = {
    "solve_splines": [c_void_p, c_void_p, *[c_int32] * 3, c_void_p, c_void_p],
    "displace_nodes": [POINTER(_Splines), POINTER(_SplineNodes), *[c_void_p] * 3],
}
_FADING: dict[str, list[Any]] = {"fade_at_outline": [c_void_p, c_int32, c_int32, c_float, c_float, c_void_p, c_void_p]}
_SIZES: dict[str, list[Any]] = {
    "outline_scratch": [c_int32, c_int32],
    "splines_scratch": [c_int32] * 3,
    "displace_scratch": [POINTER(_Splines), POINTER(_SplineNodes)],
}


@dataclass(frozen=True)
class SplineNodes:
    """Where splines are evaluated: at the nodes of a grid of square cells.

    ``first_px``: position of the first node, and ``cell_px``, the distance to the next ones. ``to_units`` float32 (2,
    3): from pixels to mouth units, a similarity. ``reach``: left, right, top and bottom of all motion, and ``fade``,
    the distances from there between which it fades in, mouth units. ``inside`` uint8 (h, w): share, 0..255, of what
    fades out at the face's outline.
    """

    first_px: tuple[float, float]
    cell_px: float
    to_units: FloatArray
    reach: tuple[float, float, float, float]
    fade: tuple[float, float]
    inside: ByteArray


class NativeSplines:
    """Splines through the motion of the control points of both layers; immutable and thread-safe."""

    def __init__(
        self, points: MouthPoints, parts: FloatArray, nodes: SplineNodes, num_shared: int = NUM_SHARED
    ) -> None:
        """Solve them.

        Args:
            points: The control points, and their motion.
            parts: Which of the NUM_PARTS parts each side of the motion belongs to, float32 (k, 4). The parts are x and
                y of what fades out at the face's outline, and x and y of the rest.
            nodes: Where the splines are evaluated.
            num_shared: How many points are the same in both layers, and move the same way: the first ones, at least 3.

        Raises:
            ValueError: Other points than these are shared, or an array has another shape or type.
        """
        library = self._library = points.library
        declare(library, _PARAMETERS)
        declare(library, _SIZES, c_size_t)
        self._num_sides, count = len(parts), points.positions.shape[1]
        if not MIN_SHARED <= num_shared <= count:
            raise ValueError(f"{num_shared} of {count} points cannot be shared")
        first = pointer(points.positions, _FLOAT, (2, count, 2))
        self.solved = self._solve(points, first, num_shared)
        self._kept, self._shape = (nodes, points.positions, parts), nodes.inside.shape
        self._nodes = _nodes_of(nodes)
        self._splines = _Splines(
            *(first, address(self.solved), pointer(parts, _FLOAT, (self._num_sides, NUM_PARTS))),
            *(num_shared, count, self._num_sides),
        )
        self._num_scratch = int(library.displace_scratch(byref(self._splines), byref(self._nodes)))

    def _solve(self, points: MouthPoints, first: int, num_shared: int) -> FloatArray:
        """Coefficients, float32 (2, n + 3, k): splines are sums, so are their coefficients."""
        count, sides = points.positions.shape[1], self._num_sides
        memory = np.empty(int(self._library.splines_scratch(num_shared, count, sides)), _FLOAT)
        solved = np.empty((2, count + 3, sides), _FLOAT)
        self._library.solve_splines(
            *(first, pointer(points.motion, _FLOAT, (2, count, sides)), num_shared, count, sides),
            *(address(memory), address(solved)),
        )
        return solved

    def displace(self, weights: FloatArray) -> FloatArray:
        """The displacement of the skin at the nodes for component ``weights`` float32 (k / 2,), whose x and y are two
        sides: float32 (2, h, w, 2), layer, node; cells."""
        memory, field = np.empty(self._num_scratch, _FLOAT), np.empty((2, *self._shape, 2), _FLOAT)
        self._library.displace_nodes(
            *(byref(self._splines), byref(self._nodes), pointer(weights, _FLOAT, (self._num_sides // 2,))),
            *(address(memory), address(field)),
        )
        return field


def fade_at_outline(library: ctypes.CDLL, mask: ByteArray, per_unit: float, yaw: float) -> ByteArray:
    """How far lips move the skin, 0..255, uint8 (h, w): less and less towards the face's outline.

    Args:
        library: The native kernel.
        mask: 1 within the outline, else 0, uint8 (h, w).
        per_unit: How many of its nodes there are in a mouth unit.
        yaw: Tangent of the head's.
    """
    declare(library, _FADING)
    declare(library, _SIZES, c_size_t)
    rows, columns = mask.shape
    memory, inside = np.empty(int(library.outline_scratch(rows, columns)), _FLOAT), np.empty_like(mask)
    first = pointer(mask, np.uint8, (rows, columns))
    library.fade_at_outline(first, rows, columns, per_unit, yaw, address(memory), address(inside))
    return inside


def _nodes_of(nodes: SplineNodes) -> ctypes.Structure:
    (a, b, shift_x), (c, d, shift_y) = nodes.to_units.tolist()
    (x, y), cell = nodes.first_px, nodes.cell_px
    determinant = (a * d - b * c) * cell or 1.0
    rows, columns = nodes.inside.shape
    numbers = _Numbers(
        *(a * x + b * y + shift_x, c * x + d * y + shift_y, a * cell, c * cell, b * cell, d * cell),
        *(*nodes.reach, *nodes.fade),
        *(d / determinant, -b / determinant, -c / determinant, a / determinant),
    )
    return _SplineNodes(pointer(nodes.inside, np.uint8, (rows, columns)), rows, columns, numbers)
