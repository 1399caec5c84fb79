"""Calls mouth.c: the two layers of skin around a mouth, on the nodes of a grid and on the pixels of the lips' box."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, byref, c_float, c_int32, c_ssize_t, c_void_p
from dataclasses import dataclass
from typing import Any

import numpy as np

from musetalk_cli.engine.native.arrays import declare, pointer, pointer_to_rows, structure
from musetalk_cli.engine.types.colour import Planes
from musetalk_cli.engine.types.messages import FloatArray

MIN_NODES = 2  # across and down

_FLOAT = np.dtype(np.float32)


_LipContours = structure(
    "LipContours",
    **dict.fromkeys(("upper", "lower"), c_void_p),
    num_points=c_int32,
    **dict.fromkeys(("first_x", "step_x", "middle", "half_width", "most_tucked"), c_float),
)
_LipNodes = structure(
    "LipNodes",
    **dict.fromkeys(("distances", "mapped"), c_void_p),
    **dict.fromkeys(("rows", "columns", "num_distances", "cell_px", "top", "left"), c_int32),
)
_LipPixels = structure(
    "LipPixels",
    **dict.fromkeys(("height", "width"), c_int32),
    **dict.fromkeys(("upper", "lower", "inward", "alpha", "upper_positions", "lower_positions"), c_void_p),
)
_LipRims = structure("LipRims", **dict.fromkeys(("upper_px", "lower_px", "down_x", "down_y"), c_float))

_PARAMETERS: dict[str, list[Any]] = {
    "backward_map": [c_void_p, c_void_p, c_int32, c_void_p, c_ssize_t, c_void_p, *[c_int32] * 3, *[c_void_p] * 2],
    "layer_distances": [
        *(c_void_p, POINTER(_LipContours), c_void_p, c_float, c_int32, c_float, *[c_int32] * 3),
        *(c_void_p, c_void_p),
    ],
    "blend_layers": [c_void_p, c_void_p, *[c_int32] * 4, c_ssize_t, c_void_p],
    "lip_pixels": [POINTER(_LipNodes), POINTER(_LipRims), POINTER(_LipPixels)],
    "shade_lips": [c_void_p, c_ssize_t, *[c_void_p] * 3, c_float, c_float, c_int32, c_int32],
}


@dataclass(frozen=True)
class Contours:
    """The image's inner lips, mouth units: ``upper`` and ``lower`` float32 (n,), heights at equal steps of x.

    ``first_x``, ``step_x``: of the points. ``middle``, ``half_width``: of the inner mouth. ``most_tucked``: how much of
    the lower lip hides behind the upper teeth at most.
    """

    upper: FloatArray
    lower: FloatArray
    first_x: float
    step_x: float
    middle: float
    half_width: float
    most_tucked: float


@dataclass(frozen=True)
class LipPixels:
    """The pixels of the lips' box, float32 (h, w).

    ``upper``, ``lower``: distances inside the layers, pixels, of which ``unit_px`` are one mouth unit. ``inward``: to
    the nearer corner, mouth units. ``alpha``: opacity of the upper layer over the lower, 0..1.
    ``positions`` (h, w, 2): where they come from. For an image of an open mouth that is in the lower layer, and
    ``upper_positions`` are those in the upper one; else it is None.
    """

    upper: FloatArray
    lower: FloatArray
    inward: FloatArray
    alpha: FloatArray
    positions: FloatArray
    upper_positions: FloatArray | None
    unit_px: float


class NativeSkin:
    """What SkinLayers does with its fields; immutable and thread-safe.

    ``library``: the native kernel.
    """

    library: ctypes.CDLL

    def __init__(
        self,
        library: ctypes.CDLL,
        contours: Contours,
        to_units: tuple[FloatArray, float],
        cell_px: int,
        has_open_mouth: bool,
    ) -> None:
        """Prepare it.

        Args:
            library: The native kernel.
            contours: The image's lips.
            to_units: Affine matrix (2, 3) from pixels to mouth units, and the pixels of one.
            cell_px: Pixels from node to node.
            has_open_mouth: Whether the image shows an open mouth, which needs the layers' depths.
        """
        declare(library, _PARAMETERS)
        self.library = library
        self._cell_px, self.num_distances = cell_px, 6 if has_open_mouth else 4
        self.to_units, self.unit_px = np.ascontiguousarray(to_units[0], np.float32), to_units[1]
        self._kept = contours
        num_points = (len(contours.upper),)
        self.contours = _LipContours(
            pointer(contours.upper, _FLOAT, num_points),
            pointer(contours.lower, _FLOAT, num_points),
            *(len(contours.upper), contours.first_x, contours.step_x, contours.middle, contours.half_width),
            contours.most_tucked,
        )

    def backward_map(
        self, fields: FloatArray, weights: FloatArray, targets: FloatArray, origin: FloatArray
    ) -> FloatArray:
        """As of SkinLayers, float32 (2, h, w, 2); ``fields`` (n, 2, h, w, 2) in cells, ``weights`` (n,), ``targets``
        (h, w, 2) and ``origin`` (2,), the first node, in pixels."""
        rows, columns = targets.shape[:2]
        if min(rows, columns) < MIN_NODES:
            raise ValueError(f"{rows} by {columns} nodes are too few")
        first, stride = pointer_to_rows(targets, _FLOAT, (rows, columns, 2))
        mapped, scratch = np.empty((2, rows, columns, 2), np.float32), np.empty((rows, columns, 6), np.float32)
        self.library.backward_map(
            pointer(fields, _FLOAT, (len(weights), 2, rows, columns, 2)),
            pointer(weights, _FLOAT, (len(weights),)),
            *(len(weights), first, stride // 4, pointer(origin, _FLOAT, (2,))),
            *(self._cell_px, rows, columns, scratch.ctypes.data, mapped.ctypes.data),
        )
        return mapped

    def layer_distances(self, mapped: FloatArray, tuck: float) -> FloatArray:
        """As of SkinLayers: float32 (h, w, 4 or 6)."""
        rows, columns = mapped.shape[1:3]
        distances = np.empty((rows, columns, self.num_distances), np.float32)
        scratch = np.empty(3 * rows * columns + len(self._kept.upper), np.float32)
        self.library.layer_distances(
            pointer(mapped, _FLOAT, (2, rows, columns, 2)),
            *(byref(self.contours), self.to_units.ctypes.data, self.unit_px, self._cell_px, tuck),
            *(rows, columns, self.num_distances, scratch.ctypes.data, distances.ctypes.data),
        )
        return distances

    def blend_layers(self, mapped: FloatArray, distances: FloatArray, positions: FloatArray) -> None:
        """Write the nodes' positions in the layer that each shows into ``positions`` (h, w, 2)."""
        rows, columns = mapped.shape[1:3]
        first, stride = pointer_to_rows(positions, _FLOAT, (rows, columns, 2))
        self.library.blend_layers(
            pointer(mapped, _FLOAT, (2, rows, columns, 2)),
            pointer(distances, _FLOAT, (rows, columns, self.num_distances)),
            *(self._cell_px, rows, columns, self.num_distances, stride // 4, first),
        )

    def lip_pixels(
        self,
        mapped: FloatArray,
        distances: FloatArray,
        box: tuple[slice, slice],
        size: tuple[int, int],
        rims: tuple[float, float] | None,
    ) -> LipPixels:
        """The nodes' distances and positions per pixel of the lips' box.

        Args:
            mapped: As from :meth:`backward_map`.
            distances: As from :meth:`layer_distances`.
            box: Rows and columns of the nodes around the lips' box, with one more on every side.
            size: Height and width of the box, pixels.
            rims: For an image of an open mouth: depth of the upper and the lower lip's rim, mouth units.
        """
        rows, columns = mapped.shape[1:3]
        nodes = _LipNodes(
            pointer(distances, _FLOAT, (rows, columns, self.num_distances)),
            pointer(mapped, _FLOAT, (2, rows, columns, 2)),
            *(rows, columns, self.num_distances, self._cell_px, box[0].start, box[1].start),
        )
        planes = [np.empty(size, np.float32) for _ in range(4)]
        positions = np.empty((*size, 2), np.float32)
        is_open = rims is not None and self.num_distances == 6
        over = np.empty((*size, 2), np.float32) if is_open else None
        pixels = _LipPixels(
            *size,
            *(plane.ctypes.data for plane in planes),
            None if over is None else over.ctypes.data,
            positions.ctypes.data,
        )
        self.library.lip_pixels(byref(nodes), byref(_LipRims(*lip_rims(self, rims))), byref(pixels))
        upper, lower, inward, alpha = planes
        return LipPixels(upper, lower, inward, alpha, positions, over, self.unit_px)

    def shade_lips(self, box: Planes, near: LipPixels, own_gap: float) -> None:
        """Darken the lips' edges in the planes of the lips' box, in place; ``own_gap`` of the image, mouth units."""
        height, width = near.upper.shape
        luma, stride = pointer_to_rows(box.luma, np.uint8, (height, width))
        self.library.shade_lips(
            *(luma, stride, near.upper.ctypes.data, near.lower.ctypes.data, near.inward.ctypes.data),
            *(self.unit_px, own_gap, height, width),
        )


def lip_rims(skin: NativeSkin, rims: tuple[float, float] | None) -> tuple[float, float, float, float]:
    """As LipRims: the depths of both rims, given in mouth units, in pixels; and the direction downwards."""
    upper, lower = rims or (0.0, 0.0)
    across, down = (skin.to_units[1, :2] * skin.unit_px).tolist()
    return upper * skin.unit_px, lower * skin.unit_px, across, down
