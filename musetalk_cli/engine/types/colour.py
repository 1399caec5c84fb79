"""Colour between images (BGR) and video (Y'CbCr 4:2:0, BT.709, limited range)."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

ByteArray = NDArray[np.uint8]

# Rec. ITU-R BT.709-6, items 3.2, 3.3 and 4.6 (8 bit), for full-range B, G, R in; last column is the offset.
_KR, _KB = 0.2126, 0.0722
_LUMA = np.array([_KB, 1.0 - _KR - _KB, _KR])
_BGR_TO_YCBCR = np.vstack(
    [
        np.append(_LUMA * 219 / 255, 16),
        np.append((np.array([1, 0, 0]) - _LUMA) / (2 * (1 - _KB)) * 224 / 255, 128),
        np.append((np.array([0, 0, 1]) - _LUMA) / (2 * (1 - _KR)) * 224 / 255, 128),
    ]
)


class Planes(NamedTuple):
    """An image as video holds it: ``luma`` uint8 (h, w); ``chroma`` uint8 (h/2, w/2, 2) as Cb, Cr.

    A chroma sample stands at the centre of its four luma samples. Width and height are even.
    """

    luma: ByteArray
    chroma: ByteArray


def even_size(width: int, height: int, height_px: int) -> tuple[int, int]:
    """Width and height of an image scaled to ``height_px``, both even, as 4:2:0 planes must be."""
    return max(2, 2 * round(width * height_px / height / 2)), max(2, 2 * round(height_px / 2))


def bgr_to_planes(bgr: ByteArray) -> Planes:
    """Convert uint8 BGR (h, w, 3), h and w even, to 4:2:0 planes."""
    ycbcr = cv2.transform(bgr, _BGR_TO_YCBCR)
    height, width = bgr.shape[:2]
    # OpenCV copies a slice of channels element by element, which takes longer than all the rest.
    full = np.empty((height, width, 2), np.uint8)
    cv2.mixChannels([as_bytes(ycbcr)], [full], [1, 0, 2, 1])
    chroma = cv2.resize(full, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    return Planes(np.ascontiguousarray(ycbcr[:, :, 0]), as_bytes(chroma))


def bgr_to_luma(bgr: ByteArray) -> ByteArray:
    """The luma alone, uint8 (h, w), of uint8 BGR (h, w, 3)."""
    return as_bytes(cv2.transform(bgr, _BGR_TO_YCBCR[:1]))


def planes_to_i420(planes: Planes) -> ByteArray:
    """Lay an image out as planar I420: uint8 (h · 3/2, w), first Y, then all Cb, then all Cr."""
    blue, red = np.moveaxis(planes.chroma, 2, 0)
    return np.concatenate([planes.luma.ravel(), blue.ravel(), red.ravel()]).reshape(-1, planes.luma.shape[1])


def i420_to_bgr(image: ByteArray) -> ByteArray:
    """Convert planar I420, uint8 (h · 3/2, w), to BGR (h, w, 3), its chroma interpolated."""
    height, width = image.shape[0] * 2 // 3, image.shape[1]
    blue, red = image[height:].reshape(2, height // 2, width // 2)
    chroma = cv2.resize(cv2.merge([blue, red]), (width, height), interpolation=cv2.INTER_LINEAR)
    back = np.linalg.inv(_BGR_TO_YCBCR[:, :3])
    offset = -back @ _BGR_TO_YCBCR[:, 3:]
    return as_bytes(cv2.transform(cv2.merge([image[:height], chroma]), np.hstack([back, offset])))


def bgr_to_ycbcr(colours: Any) -> NDArray[np.float32]:
    """Convert BGR colours 0..255, shape (..., 3), to Y, Cb, Cr of the same shape, not rounded."""
    bgr = np.asarray(colours, dtype=np.float32)
    return np.asarray(bgr @ _BGR_TO_YCBCR[:, :3].T + _BGR_TO_YCBCR[:, 3], dtype=np.float32)


def as_bytes(array: Any) -> ByteArray:
    """The same values as a uint8 array (OpenCV's own types say less)."""
    return np.asarray(array, dtype=np.uint8)
