"""Node positions of a grid (h, w, 2) → where each pixel of its region comes from, and the region's planes, sampled so.

In C where the library is there; by OpenCV otherwise, to which the maps are given as arrays.
"""

from __future__ import annotations

from functools import cached_property

import cv2
import numpy as np

from musetalk_cli.engine.models.warp.face.geometry import FloatArray
from musetalk_cli.engine.models.warp.face.sampling import (
    Box,
    Grid,
    UpsampledImage,
    sample_bilinear,
    to_chroma_samples,
    to_luma_samples,
)
from musetalk_cli.engine.models.warp.native.pixels.sampling import Sampler, can_sample, sampler
from musetalk_cli.engine.types.colour import Planes


class RegionMap:
    """Where each pixel of a grid's region comes from; immutable."""

    def __init__(
        self, grid: Grid, positions: FloatArray, lips: FloatArray | None = None, lips_px: Box | None = None
    ) -> None:
        """Describe the map.

        Args:
            grid: The region's.
            positions: What each of its nodes shows, pixels of the image, float32 (rows, columns, 2).
            lips: The same for each pixel of ``lips_px``, float32 (h, w, 2), in place of the grid's.
            lips_px: Rows and columns of the region.
        """
        self._grid, self._positions = grid, positions
        self._lips, self._lips_px = lips, lips_px

    def sample(self, source: UpsampledImage) -> Planes:
        """The region's planes."""
        native = self._native(source)
        if native is None:
            return source.sample(*self._maps)
        height, width = self._grid.region.height, self._grid.region.width
        planes = Planes(np.empty((height, width), np.uint8), np.empty((height // 2, width // 2, 2), np.uint8))
        self._sample_in_c(native, planes, (slice(0, height), slice(0, width)), source, (0.0, 0.0))
        return planes

    def sample_again(self, planes: Planes, box: Box, source: UpsampledImage, corner: FloatArray) -> None:
        """Sample a box of the region's planes again, in place, from a part of the image.

        Args:
            planes: The region's.
            box: Rows and columns, even.
            source: The part of the image.
            corner: Position of its first pixel, (2,).
        """
        native = self._native(source)
        if native is not None:
            self._sample_in_c(native, planes, box, source, (float(corner[0]), float(corner[1])))
            return
        luma, chroma = self._maps
        half = half_box(box)
        planes.luma[box] = sample_bilinear(source.luma, luma[box] - np.float32(2) * corner)
        planes.chroma[half] = sample_bilinear(source.chroma, chroma[half] - np.float32(0.5) * corner)

    def _native(self, source: UpsampledImage) -> Sampler | None:
        return sampler() if can_sample(source.luma, self._grid.cell_px) else None

    def _sample_in_c(
        self, native: Sampler, planes: Planes, box: Box, source: UpsampledImage, corner: tuple[float, float]
    ) -> None:
        native.sample_region(
            planes,
            box,
            self._positions,
            self._grid.cell_px,
            Planes(source.luma, source.chroma),
            corner=corner,
            lips=self._lips,
            lips_box=self._lips_px,
        )

    @cached_property
    def _maps(self) -> tuple[FloatArray, FloatArray]:
        """Sampling maps, as UpsampledImage.sample takes them."""
        luma, chroma = self._grid.sampling_maps(self._positions)
        if self._lips is not None and self._lips_px is not None:
            luma[self._lips_px] = to_luma_samples(self._lips)
            chroma[half_box(self._lips_px)] = to_chroma_samples(_halved(self._lips))
        return luma, chroma


def blend_layer(planes: Planes, box: Box, positions: FloatArray, alpha: FloatArray, source: UpsampledImage) -> None:
    """Composite samples of an image onto a box of planes, in place.

    Args:
        planes: Of a region.
        box: Its rows and columns, even.
        positions: Where each pixel of the box comes from, pixels of the image, float32 (h, w, 2).
        alpha: Opacity of each, 0..1, float32 (h, w).
        source: The image.
    """
    native = sampler() if can_sample(source.luma, 2) else None
    if native is not None:
        native.blend_layer(planes, box, positions, alpha, Planes(source.luma, source.chroma))
        return
    over = source.sample(to_luma_samples(positions), to_chroma_samples(_halved(positions)))
    chroma_alpha = np.asarray(cv2.resize(alpha, over.chroma.shape[1::-1], interpolation=cv2.INTER_AREA))
    parts = (planes.luma[box], planes.chroma[half_box(box)])
    for under, top, weight in zip(parts, (over.luma, over.chroma), (alpha, chroma_alpha[..., None]), strict=True):
        np.copyto(under, (under + (top - under.astype(np.float32)) * weight + 0.5).astype(np.uint8))


def half_box(box: Box) -> Box:
    """A box of luma in samples of chroma."""
    rows, columns = box
    return slice(rows.start // 2, rows.stop // 2), slice(columns.start // 2, columns.stop // 2)


def _halved(positions: FloatArray) -> FloatArray:
    """Positions (h, w, 2) at half the resolution, (h/2, w/2, 2), each the mean of four pixels."""
    size = (positions.shape[1] // 2, positions.shape[0] // 2)
    return np.asarray(cv2.resize(positions, size, interpolation=cv2.INTER_LINEAR), dtype=np.float32)
