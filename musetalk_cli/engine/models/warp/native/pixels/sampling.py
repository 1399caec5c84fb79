"""Resampling and the head's motion in C: numpy arrays in, numpy arrays out. See sampling.c, upsampling.c and head.c."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.native.arrays import address, declare, pointer, pointer_to_rows, structure
from musetalk_cli.engine.native.library import load
from musetalk_cli.engine.types.colour import ByteArray, Planes
from musetalk_cli.engine.types.messages import FloatArray, Region

MAX_CELL_PX = 128  # as in positions.h
MIN_SIDE_PX = 4  # of an image to sample from

Box = tuple[slice, slice]

_POINTER, _INT, _FLOAT = ctypes.c_void_p, ctypes.c_int32, ctypes.c_float
_SOURCE = [_POINTER, _POINTER, _INT, _INT]
_BoxPlanes = structure(
    "BoxPlanes",
    **dict.fromkeys(("luma", "chroma"), _POINTER),
    **dict.fromkeys(("luma_stride", "chroma_stride"), ctypes.c_ssize_t),
)
_SIGNATURES: dict[str, list[Any]] = {
    "sample_region": [
        *(_POINTER, _INT, _INT, _POINTER, _INT, _INT, _INT, _INT, *_SOURCE, _FLOAT, _FLOAT),
        *(ctypes.POINTER(_BoxPlanes), _INT, _INT, _INT, _INT),
    ],
    "blend_layer": [_POINTER, _POINTER, _INT, _INT, *_SOURCE, ctypes.POINTER(_BoxPlanes), _INT, _INT],
    "upsample_luma": [_POINTER, _INT, _INT, _INT, _POINTER],
    "interleave_chroma": [_POINTER, _POINTER, _INT, _INT, _INT, _POINTER],
    "take_region": [_POINTER, *[_INT] * 6, _POINTER, _POINTER],
    "move_nodes": [_POINTER, _POINTER, _POINTER, _INT, _POINTER],
}


def sampler() -> Sampler | None:
    """The stages in C; None where numpy has to do their work."""
    library = load()
    return None if library is None else _declare(library)


@lru_cache(maxsize=4)
def _declare(library: ctypes.CDLL) -> Sampler:
    return Sampler(library)


class Sampler:
    """Calls the stages of one library. All arrays are C-contiguous, and checked: ValueError where one does not fit."""

    def __init__(self, library: ctypes.CDLL) -> None:
        declare(library, _SIGNATURES)
        self._library = library

    def sample_region(
        self,
        planes: Planes,
        box: Box,
        positions: FloatArray,
        cell_px: int,
        source: Planes,
        *,
        corner: tuple[float, float] = (0.0, 0.0),
        lips: FloatArray | None = None,
        lips_box: Box | None = None,
    ) -> None:
        """Sample a box of a region from an image.

        Args:
            planes: Of the region; written to in the box.
            box: Rows and columns of luma, even.
            positions: What each node of the region's grid shows, pixels of the image, float32 (rows, columns, 2).
            cell_px: Distance of the nodes, even, at most MAX_CELL_PX.
            source: The image upsampled, at least MIN_SIDE_PX wide and high: luma uint8 (2h, 2w), chroma (h/2, w/2, 2).
            corner: Position in the image of the first pixel of ``source``.
            lips: Positions in place of the grid's for each pixel of ``lips_box``, float32 (h, w, 2).
            lips_box: Rows and columns of the region, even.
        """
        self._check_grid(planes, positions, cell_px)
        region = _planes_of_region(planes, box)
        lips_at = None
        lips_extent = (0, 0, 0, 0)
        if lips is not None and lips_box is not None:
            check_box(lips_box, *planes.luma.shape)
            lips_extent = extent_of(lips_box)
            lips_at = pointer(lips, np.float32, (*lips_extent[2:], 2))
        self._library.sample_region(
            *(pointer(positions, np.float32, positions.shape), positions.shape[1], cell_px, lips_at, *lips_extent),
            *(*source_of(source), *corner),
            *(region, *extent_of(box)),
        )

    @staticmethod
    def _check_grid(planes: Planes, positions: FloatArray, cell_px: int) -> None:
        """Raise ValueError where pixels of the region lie beyond the grid."""
        height, width = planes.luma.shape
        rows, columns = positions.shape[:2]
        is_covered = (rows - 2) * cell_px >= height and (columns - 2) * cell_px >= width
        if not is_covered or cell_px % 2 or not 2 <= cell_px <= MAX_CELL_PX or positions.shape[2:] != (2,):
            raise ValueError(f"a grid {positions.shape} of {cell_px} pixels does not cover {height} × {width}")

    def blend_layer(self, planes: Planes, box: Box, positions: FloatArray, alpha: FloatArray, source: Planes) -> None:
        """Composite samples of an image onto a box of planes, in place.

        Args:
            planes: Of a region.
            box: Rows and columns of luma, even.
            positions: Where each pixel of the box comes from, pixels of the image, float32 (h, w, 2).
            alpha: Opacity of each, 0..1, float32 (h, w).
            source: The image, as for :meth:`sample_region`.
        """
        region = _planes_of_region(planes, box)
        top, left, box_height, box_width = extent_of(box)
        self._library.blend_layer(
            pointer(positions, np.float32, (box_height, box_width, 2)),
            pointer(alpha, np.float32, (box_height, box_width)),
            *(box_height, box_width, *source_of(source)),
            *(region, top, left),
        )

    def upsample_luma(self, luma: ByteArray) -> ByteArray:
        """Upsample a plane twice: uint8 (h, w), whose rows may be parts of longer ones → uint8 (2h, 2w)."""
        height, width = luma.shape
        doubled = np.empty((2 * height, 2 * width), np.uint8)
        first, stride = pointer_to_rows(luma, np.uint8, (height, width))
        self._library.upsample_luma(first, height, width, stride, address(doubled))
        return doubled

    def interleave_chroma(self, blue: ByteArray, red: ByteArray) -> ByteArray:
        """Two planes uint8 (h, w), alike parts of ones with longer rows → uint8 (h, w, 2)."""
        height, width = blue.shape
        chroma = np.empty((height, width, 2), np.uint8)
        first, stride = pointer_to_rows(blue, np.uint8, (height, width))
        second, other_stride = pointer_to_rows(red, np.uint8, (height, width))
        if stride != other_stride:
            raise ValueError(f"rows are {stride} and {other_stride} bytes apart")
        self._library.interleave_chroma(first, second, height, width, stride, address(chroma))
        return chroma

    def take_region(self, image: ByteArray, region: Region) -> Planes:
        """A region of a planar I420 image, uint8 (h · 3/2, w): its luma upsampled, and its chroma. All numbers even."""
        height, width = image.shape[0] // 3 * 2, image.shape[1]
        left, top, across, down = region
        if min(region) < 0 or (left | top | across | down) & 1 or left + across > width or top + down > height:
            raise ValueError(f"no even region of {width} × {height} pixels: {region}")
        first = pointer(image, np.uint8, (height // 2 * 3, width // 2 * 2))
        planes = Planes(np.empty((2 * down, 2 * across), np.uint8), np.empty((down // 2, across // 2, 2), np.uint8))
        self._library.take_region(
            *(first, height, width, left, top, down, across, address(planes.luma), address(planes.chroma))
        )
        return planes

    def move_nodes(self, nodes: FloatArray, basis: FloatArray, matrix: FloatArray) -> FloatArray:
        """``nodes`` float32 (rows, columns, 2) plus ``matrix`` (2, 5) times ``basis`` (5, rows, columns)."""
        positions = np.empty_like(nodes)
        self._library.move_nodes(
            pointer(nodes, np.float32, nodes.shape),
            pointer(basis, np.float32, (5, *nodes.shape[:2])),
            pointer(matrix, np.float32, (2, 5)),
            nodes.shape[0] * nodes.shape[1],
            pointer(positions, np.float32, (*nodes.shape[:2], 2)),
        )
        return positions


def can_sample(source_luma: NDArray[np.uint8], cell_px: int) -> bool:
    """Whether the stages in C take an image of this size (its upsampled luma), and a grid of such cells."""
    return can_sample_size(source_luma.shape[1] // 2, source_luma.shape[0] // 2, cell_px)


def can_sample_size(width: int, height: int, cell_px: int) -> bool:
    """The same for an image of so many pixels."""
    return min(width, height) >= MIN_SIDE_PX and cell_px <= MAX_CELL_PX


def _planes_of_region(planes: Planes, box: Box) -> ctypes.Structure:
    """A region's planes as C takes them, if the box lies within."""
    height, width = planes.luma.shape
    check_box(box, height, width)
    luma = pointer(planes.luma, np.uint8, (height // 2 * 2, width // 2 * 2))
    return _BoxPlanes(luma, pointer(planes.chroma, np.uint8, (height // 2, width // 2, 2)), width, width)


def source_of(source: Planes) -> tuple[int, int, int, int]:
    """Addresses and size of an upsampled image."""
    height, width = source.luma.shape[0] // 2, source.luma.shape[1] // 2
    if min(height, width) < MIN_SIDE_PX:
        raise ValueError(f"an image of {height} × {width} is too small")
    return (
        pointer(source.luma, np.uint8, (2 * (height // 2 * 2), 2 * (width // 2 * 2))),
        pointer(source.chroma, np.uint8, (height // 2, width // 2, 2)),
        height,
        width,
    )


def extent_of(box: Box) -> tuple[int, int, int, int]:
    """Top, left, height, width."""
    rows, columns = box
    return rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start


def check_box(box: Box, height: int, width: int) -> None:
    rows, columns = box
    is_within = 0 <= rows.start <= rows.stop <= height and 0 <= columns.start <= columns.stop <= width
    if not is_within or (rows.start | rows.stop | columns.start | columns.stop) & 1:
        raise ValueError(f"no even box of {height} × {width}: {box}")
