"""Resampling: luma and chroma planes and sampling maps (h, w, 2) → warped planes; and the coarse grid of displacements.

Luma is upsampled twice with the half-sample filter of HEVC (Rec. ITU-T H.265, section 8.5.3.3.3.1). Bilinear sampling
of it is as sharp as bicubic sampling of the original, in a third of the time. OpenCV does the sampling itself; none of
its own interpolations gives this sharpness at this speed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.visibility import Area
from musetalk_cli.engine.models.warp.face.geometry import FloatArray
from musetalk_cli.engine.models.warp.native.pixels.sampling import sampler
from musetalk_cli.engine.types.colour import ByteArray, Planes, as_bytes
from musetalk_cli.engine.types.messages import Region

_HALF_SAMPLE = np.array([-1, 4, -11, 40, 40, -11, 4, -1], dtype=np.float32) / 64
_WHOLE_SAMPLE = np.ones(1, dtype=np.float32)
FILTER_RADIUS_PX = 4  # distance up to which a half sample depends on its neighbours

PAD = 1  # cells around a grid that upsampling needs
Box = tuple[slice, slice]  # rows and columns


@dataclass(frozen=True)
class UpsampledImage:
    """An image to sample from: ``luma`` uint8 (2h, 2w), whose even samples are the image's; ``chroma`` as in Planes."""

    luma: ByteArray
    chroma: ByteArray

    @classmethod
    def of(cls, planes: Planes) -> UpsampledImage:
        """Prepare a whole image. The rows of its luma may be parts of longer ones."""
        native = sampler()
        return cls(native.upsample_luma(planes.luma) if native else _upsample_2x(planes.luma), planes.chroma)

    @classmethod
    def of_region(cls, image: ByteArray, region: Region) -> UpsampledImage:
        """Prepare a region of an I420 image, uint8 (height · 3/2, width)."""
        native = sampler()
        if native is None:
            return cls.of(crop_planes(image, region))
        planes = native.take_region(image, region)
        return cls(planes.luma, planes.chroma)

    def sample(self, luma_map: FloatArray, chroma_map: FloatArray) -> Planes:
        """Sample planes (h, w); maps (h, w, 2) and (h/2, w/2, 2) hold x, y in samples of ``luma`` and ``chroma``."""
        return Planes(
            as_bytes(sample_bilinear(self.luma, luma_map)), as_bytes(sample_bilinear(self.chroma, chroma_map))
        )


def crop_planes(image: ByteArray, region: Region) -> Planes:
    """Crop a region from an I420 image, uint8 (height · 3/2, width). Its luma is a view of it."""
    height, width = image.shape[0] * 2 // 3, image.shape[1]
    left, top = region.left, region.top
    chroma = image[height:].reshape(2, height // 2, width // 2)
    rows = slice(top // 2, (top + region.height) // 2)
    columns = slice(left // 2, (left + region.width) // 2)
    luma = image[top : top + region.height, left : left + region.width]
    blue, red = chroma[0, rows, columns], chroma[1, rows, columns]
    native = sampler()
    return Planes(luma, native.interleave_chroma(blue, red) if native else as_bytes(cv2.merge([blue, red])))


def without_bars(planes: Planes, area: Area) -> Planes:
    """An image whose edge pixels are repeated over what lies outside ``area``, for nothing of a bar to be sampled."""
    height, width = planes.luma.shape
    if area == Area.whole(width, height):
        return planes

    def spread(plane: ByteArray, cell_px: int) -> ByteArray:
        left, top = -(-area.left // cell_px), -(-area.top // cell_px)
        right, bottom = max(area.right // cell_px, left + 1), max(area.bottom // cell_px, top + 1)
        rows, columns = plane.shape[:2]
        over = (top, rows - bottom, left, columns - right)
        return as_bytes(cv2.copyMakeBorder(plane[top:bottom, left:right], *over, cv2.BORDER_REPLICATE))

    return Planes(spread(planes.luma, 1), spread(planes.chroma, 2))


def sample_bilinear(values: NDArray[Any], positions: FloatArray) -> NDArray[Any]:
    """Bilinear samples of ``values`` (h, w[, n]) at x, y ``positions`` (rows, columns, 2), clamped to the edge."""
    no_second_map: Any = None
    return np.asarray(cv2.remap(values, positions, no_second_map, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def to_luma_samples(positions: FloatArray) -> FloatArray:
    """Pixel positions as coordinates in :attr:`UpsampledImage.luma`."""
    return np.asarray(positions * 2, dtype=np.float32)


def to_chroma_samples(positions: FloatArray) -> FloatArray:
    """Pixel positions as coordinates in :attr:`UpsampledImage.chroma` (a sample stands between its four pixels)."""
    return np.asarray(positions * 0.5 - 0.25, dtype=np.float32)


def _upsample_2x(luma: ByteArray) -> ByteArray:
    doubled = np.empty((2 * luma.shape[0], 2 * luma.shape[1]), dtype=np.uint8)
    doubled[::2, ::2] = luma
    for row, column in ((0, 1), (1, 0), (1, 1)):
        horizontal, vertical = (_HALF_SAMPLE if odd else _WHOLE_SAMPLE for odd in (column, row))
        anchor = (3 if column else 0, 3 if row else 0)
        doubled[row::2, column::2] = cv2.sepFilter2D(
            luma, -1, horizontal, vertical, anchor=anchor, borderType=cv2.BORDER_REPLICATE
        )
    return doubled


def bounds_of(points: FloatArray) -> FloatArray:
    """Left, top, right, bottom of points (n, 2)."""
    return np.concatenate([points.min(axis=0), points.max(axis=0)])


def regions_around(
    bounds_px: NDArray[np.float64], size: tuple[int, int], area: Area | None = None
) -> NDArray[np.int32]:
    """Rectangles around bounds (n, 4), left, top, right, bottom: aligned to even pixels, and within ``size`` (width,
    height) and ``area``. Returns left, top, width, height, int32 (n, 4)."""
    regions = np.empty(bounds_px.shape, np.int32)
    for axis in (0, 1):
        first, last = 0, size[axis]
        if area is not None:
            near, far = (area.left, area.right) if axis == 0 else (area.top, area.bottom)
            first = min(-(-near // 2) * 2, size[axis] - 2)
            last = min(max(far // 2 * 2, first + 2), size[axis])
        low, high = np.floor(bounds_px[:, axis] / 2) * 2, np.ceil(bounds_px[:, 2 + axis] / 2) * 2
        start = np.minimum(np.maximum(low, first), last - 2)
        regions[:, axis] = start
        regions[:, 2 + axis] = np.minimum(np.maximum(high, start + 2), last) - start
    return regions


def region_around(bounds_px: Sequence[FloatArray], size: tuple[int, int], area: Area | None = None) -> Region:
    """The same around all bounds (4,) of one image."""
    each = np.array(bounds_px, np.float64)
    whole = np.concatenate([each[:, :2].min(axis=0), each[:, 2:].max(axis=0)])
    return Region(*regions_around(whole[None], size, area)[0].tolist())


Span = tuple[NDArray[np.int32], NDArray[np.int32]]


def cells_between(
    low_px: NDArray[np.float64], high_px: NDArray[np.float64], extents_px: NDArray[np.int32], cell_px: int
) -> Span:
    """The nodes, first and behind the last (n,), whose cells spans of regions touch, on grids over all of these."""
    count = -(-extents_px // cell_px) + 2 * PAD
    start = np.minimum(np.maximum(np.floor(low_px / cell_px) + PAD, 0), count - 1)
    stop = np.minimum(np.maximum(np.ceil(high_px / cell_px) + PAD, start + 1), count)
    return start.astype(np.int32), stop.astype(np.int32)


def pixels_between(
    start: NDArray[np.int32], stop: NDArray[np.int32], extents_px: NDArray[np.int32], cell_px: int
) -> Span:
    """The regions' pixels, first and behind the last (n,), under such nodes, less their outer ``PAD`` cells; even."""
    first = np.minimum(start * cell_px, extents_px)
    return first, np.maximum(np.minimum((stop - 2 * PAD) * cell_px, extents_px), first)


class Grid:
    """Nodes at the centres of square cells over a region, with ``PAD`` more cells on every side.

    ``nodes`` float32 (rows, columns, 2): their positions in pixels of the image. ``cell_px`` is even.
    """

    def __init__(self, region: Region, cell_px: int) -> None:
        self.region, self.cell_px = region, cell_px
        rows, columns = (-(-extent // cell_px) + 2 * PAD for extent in (region.height, region.width))
        start = -PAD * cell_px + (cell_px - 1) / 2
        x = np.arange(columns, dtype=np.float32) * cell_px + (region.left + start)
        y = np.arange(rows, dtype=np.float32) * cell_px + (region.top + start)
        self.nodes: FloatArray = np.empty((rows, columns, 2), np.float32)
        self.nodes[..., 0], self.nodes[..., 1] = x, y[:, None]

    def cells_touching(self, bounds_px: FloatArray) -> Box:
        """Rows and columns of the nodes whose cells a rectangle of the image (left, top, right, bottom) touches."""
        spans = []
        for axis in (1, 0):
            low, high = np.asarray(bounds_px[axis::2], np.float64) - self.region[axis]
            extent = np.array([self.region[2 + axis]], np.int32)
            (start,), (stop,) = cells_between(np.array([low]), np.array([high]), extent, self.cell_px)
            spans.append(slice(int(start), int(stop)))
        return spans[0], spans[1]

    def sampling_maps(self, positions: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Sampling maps of the region, (h, w, 2) for luma and (h/2, w/2, 2) for chroma, from the nodes' positions."""
        height, width, cell = self.region.height, self.region.width, self.cell_px
        luma = self.upsample(to_luma_samples(positions), cell)[:height, :width]
        chroma = self.upsample(to_chroma_samples(positions), cell // 2)[: height // 2, : width // 2]
        return luma, chroma

    def upsample(self, values: FloatArray, px_per_cell: int) -> FloatArray:
        """Interpolate values (rows, columns, n) of a box of nodes to pixels, less the outer ``PAD`` cells.

        Linear, because OpenCV's cubic does not reproduce slopes: positions interpolated by it would ripple.
        """
        size = (values.shape[1] * px_per_cell, values.shape[0] * px_per_cell)
        fine = np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_LINEAR), dtype=np.float32)
        margin = PAD * px_per_cell
        return fine[margin : size[1] - margin, margin : size[0] - margin]
