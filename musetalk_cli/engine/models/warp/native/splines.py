"""Calls splines.c and displace.c: thin-plate splines through the motion of control points, for one mouth shape."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, byref, c_float, c_int32, c_size_t, c_void_p
from dataclasses import dataclass
from typing import Any

import numpy as np

from musetalk_cli.engine.models.warp.native.arrays import address, declare, pointer, structure
from musetalk_cli.engine.types.messages import FloatArray

NUM_PARTS = 4
_FLOAT = np.dtype(np.float32)

_Splines = structure(
    "Splines",
    **dict.fromkeys(("points", "upper", "lower"), c_void_p),
    **dict.fromkeys(("num_shared", "count"), c_int32),
)
_SplineNodes = structure(
    "SplineNodes",
    inside=c_void_p,
    **dict.fromkeys(("rows", "columns"), c_int32),
    **dict.fromkeys(("first", "across", "down"), c_float * 2),
    reach=c_float * 4,
    fade=c_float * 2,
    to_cells=c_float * 4,
)
_PARAMETERS: dict[str, list[Any]] = {
    "solve_splines": [c_void_p, c_void_p, c_int32, c_int32, c_void_p, c_void_p],
    "displace_nodes": [POINTER(_Splines), POINTER(_SplineNodes), c_void_p, c_void_p],
}
_SIZES: dict[str, list[Any]] = {
    "splines_scratch": [c_int32, c_int32],
    "displace_scratch": [POINTER(_SplineNodes)],
}


@dataclass(frozen=True)
class SplineNodes:
    """Where splines are evaluated: at the nodes of a grid of square cells.

    ``first_px``: position of the first node, and ``cell_px``, the distance to the next ones. ``to_units`` float32 (2,
    3): from pixels to mouth units, a similarity. ``reach``: left, right, top and bottom of all motion, and ``fade``,
    the distances from there between which it fades in, mouth units. ``inside`` float32 (h, w): share, 0..1, of what
    fades out at the face's outline.
    """

    first_px: tuple[float, float]
    cell_px: float
    to_units: FloatArray
    reach: tuple[float, float, float, float]
    fade: tuple[float, float]
    inside: FloatArray


class NativeSplines:
    """Splines through the control points of both layers; immutable and thread-safe."""

    def __init__(self, library: ctypes.CDLL, points: FloatArray, num_shared: int, nodes: SplineNodes) -> None:
        """Prepare them.

        Args:
            library: The native kernel.
            points: Positions of the points of the upper layer and of the lower, float32 (2, n, 2), mouth units.
            num_shared: How many of both, the first ones, are the same.
            nodes: Where the splines are evaluated.
        """
        declare(library, _PARAMETERS)
        declare(library, _SIZES, c_size_t)
        if not 0 <= num_shared <= points.shape[1]:
            raise ValueError(f"{num_shared} of {points.shape[1]} points cannot be shared")
        self._library, self._kept, self._shape = library, (nodes, points), nodes.inside.shape
        self._nodes = _nodes_of(nodes)
        self._num_scratch = int(library.displace_scratch(byref(self._nodes)))
        self._points, self._num_shared, self._count = points, num_shared, points.shape[1]
        self._first = pointer(points, _FLOAT, (2, self._count, 2))

    def solve(self, layer: int, motion: FloatArray) -> FloatArray:
        """Coefficients of splines, float32 (n + 3, k), through ``motion`` (n, k) of one layer's points, 0 or 1.

        Splines are sums: so are their coefficients.
        """
        count, num_sides = self._count, motion.shape[1]
        coefficients = np.empty((count + 3, num_sides), _FLOAT)
        memory = np.empty(int(self._library.splines_scratch(count, num_sides)), _FLOAT)
        self._library.solve_splines(
            self._first + 2 * _FLOAT.itemsize * count * layer,
            pointer(motion, _FLOAT, (count, num_sides)),
            *(count, num_sides, address(memory), address(coefficients)),
        )
        return coefficients

    def displace(self, upper: FloatArray, lower: FloatArray) -> FloatArray:
        """The displacement of the skin at the nodes, float32 (2, h, w, 2): layer, node; cells.

        ``upper``, ``lower`` (n + 3, 4): coefficients of x and y of what fades out at the face's outline, and of x and y
        of the rest.
        """
        size = (self._count + 3, NUM_PARTS)
        solved = (pointer(upper, _FLOAT, size), pointer(lower, _FLOAT, size))
        splines = _Splines(self._first, *solved, self._num_shared, self._count)
        memory, field = np.empty(self._num_scratch, _FLOAT), np.empty((2, *self._shape, 2), _FLOAT)
        self._library.displace_nodes(byref(splines), byref(self._nodes), address(memory), address(field))
        return field


def _nodes_of(nodes: SplineNodes) -> ctypes.Structure:
    (a, b, shift_x), (c, d, shift_y) = nodes.to_units.tolist()
    (x, y), cell = nodes.first_px, nodes.cell_px
    determinant = (a * d - b * c) * cell or 1.0
    rows, columns = nodes.inside.shape
    return _SplineNodes(
        *(pointer(nodes.inside, _FLOAT, (rows, columns)), rows, columns),
        (c_float * 2)(a * x + b * y + shift_x, c * x + d * y + shift_y),
        *((c_float * 2)(a * cell, c * cell), (c_float * 2)(b * cell, d * cell)),
        *((c_float * 4)(*nodes.reach), (c_float * 2)(*nodes.fade)),
        (c_float * 4)(d / determinant, -b / determinant, -c / determinant, a / determinant),
    )
