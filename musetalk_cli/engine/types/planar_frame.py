"""A video's frame for code that reads small parts of it as BGR: only these parts are converted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.types.colour import ByteArray, Planes, as_bytes, planes_to_i420

# OpenCV's own matrix from Y, Cb, Cr (BT.601, limited range) to B, G, R. On BT.709 it tints skin a little, which is
# nothing to a face detector, and it converts whole frames five times as fast as any other.
_TO_BGR = np.array([[1.164, 2.018, 0.0], [1.164, -0.391, -0.813], [1.164, 0.0, 1.596]])
_TO_BGR = np.column_stack([_TO_BGR, -_TO_BGR @ (16, 128, 128)])


@dataclass(frozen=True)
class Plane:
    """All channels of a BGR image, or one of a planar frame: ``pixels`` uint8 (h, w) or (h, w, 3), ``scale`` times as
    large as the image; ``black`` is what black has."""

    pixels: ByteArray
    scale: float = 1.0
    black: int = 0

    def map(self, to_image: NDArray[np.float64]) -> NDArray[np.float64]:
        """A 2 × 3 map to pixels of the image, as one to pixels of the plane; their centres are at integers in both."""
        moved = np.array(to_image, np.float64)
        moved[:, 2] += 0.5
        moved *= self.scale
        moved[:, 2] -= 0.5
        return moved


class PlanarFrame:
    """Planar I420, uint8 (h · 3/2, w), both sides of the image even. ``shape`` is that of the BGR image."""

    def __init__(self, i420: ByteArray) -> None:
        rows, columns = i420.shape[0] * 2 // 3, i420.shape[1]
        self.shape = (rows, columns, 3)
        self.luma = i420[:rows]
        self._i420 = i420
        self._chroma = i420[rows:].reshape(2, rows // 2, columns // 2)

    @cached_property
    def bgr(self) -> ByteArray:
        """The whole image, uint8 BGR (h, w, 3)."""
        return as_bytes(cv2.cvtColor(self._i420, cv2.COLOR_YUV2BGR_I420))

    def planes(self) -> tuple[Plane, Plane, Plane]:
        """Luma, Cb and Cr."""
        return Plane(self.luma, 1.0, 16), Plane(self._chroma[0], 0.5, 128), Plane(self._chroma[1], 0.5, 128)


SearchedImage = ByteArray | PlanarFrame


def whole_bgr(image: SearchedImage) -> ByteArray:
    """The whole image, uint8 BGR (h, w, 3)."""
    return image.bgr if isinstance(image, PlanarFrame) else image


def part_bgr(image: SearchedImage, low: NDArray[np.int_], high: NDArray[np.int_]) -> ByteArray:
    """The pixels from ``low`` to ``high`` (x, y; exclusive) of an image, uint8 BGR."""
    if not isinstance(image, PlanarFrame):
        return image[low[1] : high[1], low[0] : high[0]]
    first, last = low // 2, (high + 1) // 2
    luma, blue, red = (
        plane.pixels[slice(*rows), slice(*columns)]
        for plane, times in zip(image.planes(), (2, 1, 1), strict=True)
        for (columns, rows) in [zip(times * first, times * last, strict=True)]
    )
    part = planes_to_i420(Planes(luma, np.dstack([blue, red])))
    at = low - 2 * first
    size = high - low
    return PlanarFrame(part).bgr[at[1] : at[1] + size[1], at[0] : at[0] + size[0]]


def sample_bgr(image: SearchedImage, sample: Callable[[Plane], ByteArray]) -> ByteArray:
    """What ``sample`` reads of an image, uint8 BGR (n, m, 3), by reading n × m values of each plane."""
    if not isinstance(image, PlanarFrame):
        return sample(Plane(image))
    return as_bytes(cv2.transform(cv2.merge([sample(plane) for plane in image.planes()]), _TO_BGR))
