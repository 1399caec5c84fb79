"""Calls splines.c: thin-plate splines through the motion of control points, for one mouth shape at a time."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, byref, c_int32, c_void_p
from dataclasses import dataclass
from typing import Any

import numpy as np

from musetalk_cli.engine.models.warp.native.arrays import declare, pointer, structure
from musetalk_cli.engine.types.messages import FloatArray

NUM_PARTS = 4
_FLOAT = np.dtype(np.float32)

_Splines = structure(
    "Splines",
    **dict.fromkeys(("shared", "own", "coefficients"), c_void_p),
    **dict.fromkeys(("num_shared", "num_own"), c_int32),
)
_PARAMETERS: dict[str, list[Any]] = {
    "solve_splines": [c_void_p, c_void_p, c_int32, c_void_p, c_void_p],
    "displace_nodes": [POINTER(_Splines), *[c_void_p] * 4, c_int32, c_void_p],
}


@dataclass(frozen=True)
class SplineNodes:
    """Where splines are evaluated, float32.

    ``positions`` (h, w, 2): mouth units. ``window``, ``inside`` (h, w): shares, 0..1, of every motion and of what fades
    out at the face's outline. ``to_cells`` (2, 2): from mouth units.
    """

    positions: FloatArray
    window: FloatArray
    inside: FloatArray
    to_cells: FloatArray


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
        self._library, self._nodes = library, nodes
        self._num_shared, self._num_own = len(shared), len(own[0])
        self._points = [np.ascontiguousarray(np.concatenate([shared, layer]), _FLOAT) for layer in own]
        self._own = np.ascontiguousarray(np.concatenate(own), _FLOAT)

    def displace(self, motion: tuple[FloatArray, FloatArray]) -> FloatArray:
        """The displacement of the skin at the nodes, float32 (2, h, w, 2): layer, node; cells.

        ``motion`` (n + m, 4): of the upper layer's points and of the lower's, shared ones first, mouth units: x and y
        of what fades out at the face's outline, and x and y of the rest.
        """
        count = self._num_shared + self._num_own
        coefficients = np.empty((2, count + 3, NUM_PARTS), _FLOAT)
        scratch = np.empty((count + 3, count + 3 + NUM_PARTS), np.float64)
        for layer, points in enumerate(self._points):
            self._library.solve_splines(
                pointer(points, _FLOAT, (count, 2)),
                pointer(motion[layer], _FLOAT, (count, NUM_PARTS)),
                *(count, scratch.ctypes.data, coefficients[layer].ctypes.data),
            )
        splines = _Splines(
            self._points[0].ctypes.data,
            pointer(self._own, _FLOAT, (2 * self._num_own, 2)),
            *(coefficients.ctypes.data, self._num_shared, self._num_own),
        )
        nodes = self._nodes
        shape = nodes.window.shape
        field = np.empty((2, *shape, 2), _FLOAT)
        self._library.displace_nodes(
            byref(splines),
            pointer(nodes.positions, _FLOAT, (*shape, 2)),
            pointer(nodes.window, _FLOAT, shape),
            pointer(nodes.inside, _FLOAT, shape),
            pointer(nodes.to_cells, _FLOAT, (2, 2)),
            *(nodes.window.size, field.ctypes.data),
        )
        return field
