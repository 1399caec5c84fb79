"""From a coarse mask of a person to an alpha that follows edges and hair, and to colours without the old background.

The mask is refined by the guided filter with a colour image as its guide (He, Sun and Tang, 2013); colours come from
blur fusion (Forte, 2021): what is behind a half-covered pixel is estimated nearby and taken out.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.types.colour import ByteArray, as_bytes

FloatArray = NDArray[np.float32]

# The longer side of the image on which the filter's coefficients are computed, its radius, and the variance (of levels
# 0..1) below which an area is flat.
GUIDE_PX, RADIUS_PX, FLAT = 768, 8, 1e-4
# What is nearly outside or inside is that: encoders make a veil of the rest.
OUTSIDE, INSIDE = 0.05, 0.95
# The longer side of the image on which colours nearby are estimated; how far, and how much each distance counts.
NEAR_PX, NEAR = 384, ((3.0, 1.0), (9.0, 1e-2), (30.0, 1e-4))


def refine(bgr: ByteArray, mask: FloatArray) -> ByteArray:
    """Alpha uint8 (h, w) of an image from a mask of any size, 0..1."""
    height, width = bgr.shape[:2]
    size = _fitted(width, height, GUIDE_PX)
    guide = _resized(bgr, size) / np.float32(255)
    slope, offset = _guided(guide, np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_CUBIC), np.float32))
    slope, offset = (_resized(each, (width, height)) for each in (slope, offset))
    # Row by row, so that large frames are never there as floating-point numbers.
    alpha = np.empty((height, width), np.uint8)
    for top in range(0, height, 256):
        rows = slice(top, top + 256)
        value = np.einsum("hwc,hwc->hw", slope[rows], bgr[rows].astype(np.float32)) / 255 + offset[rows]
        alpha[rows] = np.rint(np.clip((value - OUTSIDE) / (INSIDE - OUTSIDE), 0, 1) * 255)
    return alpha


def clean_colours(bgr: ByteArray, alpha: ByteArray) -> ByteArray:
    """The person's own colours, uint8 BGR (h, w, 3): where alpha (h, w) is 255 those of the image, at the edges without
    the background, and outside those of the nearest part of the person."""
    height, width = alpha.shape
    size = _fitted(width, height, NEAR_PX)
    small, share = _resized(bgr, size), _resized(alpha, size) / 255
    inner = _nearby(small, np.asarray(share**4 * (share > 0.5), np.float32), (width, height))
    outer = _nearby(small, np.asarray((1 - share) ** 4 * (share < 0.5), np.float32), (width, height))
    clean = as_bytes(bgr.copy())
    is_open = alpha < 255
    a, image = (alpha[is_open] / np.float32(255))[:, None], bgr[is_open].astype(np.float32)
    own, behind = inner[is_open], outer[is_open]
    clean[is_open] = np.rint(np.clip(own + a * (image - a * own - (1 - a) * behind), 0, 255))
    return clean


def _guided(guide: FloatArray, mask: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The guided filter's coefficients: ``slope`` (h, w, 3) and ``offset`` (h, w), averaged."""

    def mean(values: Any) -> FloatArray:
        side = 2 * RADIUS_PX + 1
        return np.asarray(cv2.boxFilter(values, -1, (side, side), borderType=cv2.BORDER_REFLECT), np.float32)

    mean_guide, mean_mask = mean(guide), mean(mask)
    covariance = mean(guide * mask[..., None]) - mean_guide * mean_mask[..., None]
    b, g, r = (guide[..., channel] for channel in range(3))
    mb, mg, mr = (mean_guide[..., channel] for channel in range(3))
    bb, gg, rr = mean(b * b) - mb * mb + FLAT, mean(g * g) - mg * mg + FLAT, mean(r * r) - mr * mr + FLAT
    bg, br, gr = mean(b * g) - mb * mg, mean(b * r) - mb * mr, mean(g * r) - mg * mr
    # The inverse of each pixel's symmetric 3 × 3 matrix, by its cofactors.
    cofactors = (gg * rr - gr * gr, br * gr - bg * rr, bg * gr - br * gg, bb * rr - br * br, br * bg - bb * gr)
    c_bb, c_bg, c_br, c_gg, c_gr = cofactors
    c_rr = bb * gg - bg * bg
    determinant = np.maximum(bb * c_bb + bg * c_bg + br * c_br, FLAT**3)
    x, y, z = (covariance[..., channel] for channel in range(3))
    rows = (c_bb * x + c_bg * y + c_br * z, c_bg * x + c_gg * y + c_gr * z, c_br * x + c_gr * y + c_rr * z)
    slope = np.dstack(rows) / determinant[..., None]
    offset = mean_mask - np.einsum("hwc,hwc->hw", slope, mean_guide)
    return mean(slope), mean(offset)


def _nearby(image: FloatArray, weight: FloatArray, size: tuple[int, int]) -> FloatArray:
    """The mean of an image's colours around each pixel by ``weight``, nearer ones first, resized to ``size``."""
    total, weights = np.zeros_like(image), np.zeros_like(weight)
    for sigma, share in NEAR:
        total += share * cv2.GaussianBlur(image * weight[..., None], (0, 0), sigma)
        weights += share * cv2.GaussianBlur(weight, (0, 0), sigma)
    is_far = weights < 1e-9
    weights[is_far] = 1
    if is_far.any():
        everywhere = float(weight.sum())
        total[is_far] = np.tensordot(weight, image, 2) / everywhere if everywhere else 128
    return _resized(total / weights[..., None], size)


def _fitted(width: int, height: int, longest: int) -> tuple[int, int]:
    factor = min(1.0, longest / max(width, height))
    return max(1, round(width * factor)), max(1, round(height * factor))


def _resized(image: Any, size: tuple[int, int]) -> FloatArray:
    how = cv2.INTER_AREA if size[0] < image.shape[1] else cv2.INTER_LINEAR
    return np.asarray(
        cv2.resize(as_bytes(image) if image.dtype == np.uint8 else image, size, interpolation=how), np.float32
    )
