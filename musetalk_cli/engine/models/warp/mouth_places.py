"""Axes of mouths, a row for each image → the regions that they change, and boxes of nodes and pixels in these.

All frames of a video are placed at once: numpy takes as long for a hundred of them as for one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.visibility import Area
from musetalk_cli.engine.models.warp.face.displacement_fields import REACH
from musetalk_cli.engine.models.warp.face.geometry import MouthAxes
from musetalk_cli.engine.models.warp.face.sampling import (
    PAD,
    Box,
    Grid,
    Span,
    cells_between,
    pixels_between,
    regions_around,
)
from musetalk_cli.engine.types.messages import Region

_LIPS = (-0.62, 0.62, -0.26, 0.47)  # x and y range in which the layers are separated per pixel, mouth units

Numbers = NDArray[np.float64]
Integers = NDArray[np.int32]


class MouthPlaces(NamedTuple):
    """Where mouths are in their images, and on grids of ``cell_px`` over the regions that they change.

    ``regions``: these, left, top, width, height. The rest are boxes on them: top, left, height, width. ``moved``: the
    nodes that a mouth moves. ``lips``: those around its lips' box, counted within ``moved``. ``lips_px``: the region's
    pixels in that box. All int32 (n, 4).
    """

    cell_px: int
    regions: Integers
    moved: Integers
    lips: Integers
    lips_px: Integers

    @classmethod
    def of(cls, axes: Numbers, size: tuple[int, int], area: Area | None, cell_px: int) -> MouthPlaces:
        """Those of mouths with ``axes`` (n, 5) in images of a ``size`` (width, height), within ``area``."""
        regions = regions_around(reach_px(axes), size, area)
        within = axes.copy()
        within[:, :2] -= regions[:, :2]
        return cls(cell_px, regions, *_boxes(within, regions[:, 2:], cell_px))

    @classmethod
    def on(cls, grid: Grid, axes: MouthAxes) -> MouthPlaces:
        """That of one mouth on a grid."""
        left, top, width, height = grid.region
        within = axes_row(axes)[None] - [left, top, 0, 0, 0]
        regions = np.array([grid.region], np.int32)
        return cls(grid.cell_px, regions, *_boxes(within, np.array([[width, height]], np.int32), grid.cell_px))

    def region(self, index: int) -> Region:
        """The region of one image."""
        return Region(*self.regions[index].tolist())

    def boxes(self, index: int) -> tuple[Box, Box, Box]:
        """The boxes of one image, as rows and columns."""
        moved, lips, lips_px = (_slices(box[index].tolist()) for box in (self.moved, self.lips, self.lips_px))
        return moved, lips, lips_px


def axes_row(axes: MouthAxes) -> Numbers:
    """Axes as numbers (5,): origin, x axis, and the pixels of a mouth unit."""
    return np.array([*axes.origin_px.tolist(), *axes.x_axis.tolist(), axes.unit_px])


def reach_px(axes: Numbers) -> Numbers:
    """Left, top, right, bottom (n, 4) of everything that mouths move, pixels; ``axes`` (n, 5)."""
    return _bounds_px(axes, REACH)


def _boxes(axes: Numbers, extents: Integers, cell_px: int) -> tuple[Integers, Integers, Integers]:
    """``moved``, ``lips`` and ``lips_px`` of mouths with ``axes`` (n, 5) in pixels of their regions.

    ``extents`` (n, 2): width and height of these.
    """
    margin = PAD * cell_px * np.array([-1, -1, 1, 1])
    moved, outer = (
        [cells_between(bounds[:, axis], bounds[:, 2 + axis], extents[:, axis], cell_px) for axis in (1, 0)]
        for bounds in (reach_px(axes), _bounds_px(axes, _LIPS) + margin)
    )
    # Of a mouth of few cells, the margin reaches beyond what it moves.
    outer = [
        (np.clip(low, first, last), np.clip(high, first, last))
        for (low, high), (first, last) in zip(outer, moved, strict=True)
    ]
    inner = [(low - first, high - first) for (low, high), (first, _) in zip(outer, moved, strict=True)]
    pixels = [pixels_between(*span, extents[:, axis], cell_px) for span, axis in zip(outer, (1, 0), strict=True)]
    return _extents(*moved), _extents(*inner), _extents(*pixels)


def _bounds_px(axes: Numbers, span: tuple[float, float, float, float]) -> Numbers:
    """Left, top, right, bottom (n, 4) of a span of mouth units."""
    left, right, top, bottom = span
    along = axes[:, 2:4] * axes[:, 4:]
    bounds = np.empty((len(axes), 4))
    for axis, (from_x, from_y) in enumerate(((along[:, 0], -along[:, 1]), (along[:, 1], along[:, 0]))):
        across, down = (from_x * left, from_x * right), (from_y * top, from_y * bottom)
        for column, find in ((axis, np.minimum), (2 + axis, np.maximum)):
            bounds[:, column] = find(*across) + find(*down) + axes[:, axis]
    return bounds


def _extents(rows: Span, columns: Span) -> Integers:
    """Top, left, height, width (n, 4)."""
    return np.stack([rows[0], columns[0], rows[1] - rows[0], columns[1] - columns[0]], axis=1)


def _slices(extent: list[int]) -> Box:
    top, left, height, width = extent
    return slice(top, top + height), slice(left, left + width)
