"""Calls splines.c: thin-plate splines through the motion of control points, for one mouth shape at a time."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, byref, c_float, c_int32, c_ssize_t, c_void_p
from dataclasses import dataclass
from typing import Any

import numpy as np

from musetalk_cli.engine.models.warp.native.arrays import declare, pointer, pointer_to_rows, structure
from musetalk_cli.engine.types.messages import FloatArray

NUM_PARTS = 4
_FLOAT = np.dtype(np.float32)

_Splines = structure(
    "Splines",
    **dict.fromkeys(("shared", "own", "upper", "lower"), c_void_p),
    **dict.fromkeys(("num_shared", "num_own"), c_int32),
)
_SplineNodes = structure(
    "SplineNodes",
    positions=c_void_p,
    stride=c_ssize_t,
    inside=c_void_p,
    **dict.fromkeys(("rows", "columns"), c_int32),
    to_units=c_float * 6,
    reach=c_float * 4,
    fade=c_float * 2,
    to_cells=c_float * 4,
)
_PARAMETERS: dict[str, list[Any]] = {
    "solve_splines": [c_void_p, c_void_p, c_int32, c_int32, c_void_p, c_void_p],
    "displace_nodes": [POINTER(_Splines), POINTER(_SplineNodes), c_void_p],
}


@dataclass(frozen=True)
class SplineNodes:
    """Where splines are evaluated, float32.

    ``positions`` (h, w, 2): pixels. ``to_units`` (2, 3): from these to mouth units, and ``to_cells`` (2, 2) from mouth
    units. ``reach``: left, right, top and bottom of all motion, and ``fade``, the distances from there between which it
    fades in, mouth units. ``inside`` (h, w): share, 0..1, of what fades out at the face's outline.
    """

    positions: FloatArray
    to_units: FloatArray
    to_cells: FloatArray
    reach: tuple[float, float, float, float]
    fade: tuple[float, float]
    inside: FloatArray


class NativeSplines:
    """Splines through the control points of both layers; immutable and thread-safe."""

    def __init__(
        self, library: ctypes.CDLL, shared: FloatArray, own: tuple[FloatArray, FloatArray], nodes: SplineNodes
    ) -> None:
        """Prepare them.

        Args:
            library: The native kernel.
            shared: Positions of the points of both layers, float32 (n, 2), mouth units.
            own: Those of the upper layer, and as many of the lower, (m, 2) each.
            nodes: Where the splines are evaluated.
        """
        declare(library, _PARAMETERS)
        self._library, self._kept, self._shape = library, nodes, nodes.inside.shape
        self._nodes = _nodes_of(nodes)
        self._num_shared, self._num_own = len(shared), len(own[0])
        self._points = [np.ascontiguousarray(np.concatenate([shared, layer]), _FLOAT) for layer in own]
        self._own = np.ascontiguousarray(np.concatenate(own), _FLOAT)

    def solve(self, layer: int, motion: FloatArray) -> FloatArray:
        """Coefficients of splines, float32 (n + m + 3, k), through ``motion`` (n + m, k) of one layer's points, 0 or 1.

        The shared points are the first. Splines are sums: so are their coefficients.
        """
        count, num_sides = motion.shape
        coefficients = np.empty((count + 3, num_sides), _FLOAT)
        scratch = np.empty((count + 3, count + 3 + num_sides), np.float64)
        self._library.solve_splines(
            pointer(self._points[layer], _FLOAT, (count, 2)),
            pointer(motion, _FLOAT, (count, num_sides)),
            *(count, num_sides, scratch.ctypes.data, coefficients.ctypes.data),
        )
        return coefficients

    def displace(self, upper: FloatArray, lower: FloatArray) -> FloatArray:
        """The displacement of the skin at the nodes, float32 (2, h, w, 2): layer, node; cells.

        ``upper``, ``lower`` (n + m + 3, 4): coefficients of x and y of what fades out at the face's outline, and of x
        and y of the rest.
        """
        size = (self._num_shared + self._num_own + 3, NUM_PARTS)
        splines = _Splines(
            self._points[0].ctypes.data,
            pointer(self._own, _FLOAT, (2 * self._num_own, 2)),
            *(pointer(upper, _FLOAT, size), pointer(lower, _FLOAT, size), self._num_shared, self._num_own),
        )
        field = np.empty((2, *self._shape, 2), _FLOAT)
        self._library.displace_nodes(byref(splines), byref(self._nodes), field.ctypes.data)
        return field


def _nodes_of(nodes: SplineNodes) -> ctypes.Structure:
    rows, columns = nodes.inside.shape
    first, stride = pointer_to_rows(nodes.positions, _FLOAT, (rows, columns, 2))
    return _SplineNodes(
        *(first, stride // 4, pointer(nodes.inside, _FLOAT, (rows, columns)), rows, columns),
        (c_float * 6)(*nodes.to_units.ravel()),
        (c_float * 4)(*nodes.reach),
        (c_float * 2)(*nodes.fade),
        (c_float * 4)(*nodes.to_cells.ravel()),
    )
