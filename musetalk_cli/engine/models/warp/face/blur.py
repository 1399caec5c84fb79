"""Y'CbCr planes and landmarks of some frames → how blurred the face is, so that a drawn mouth is no sharper than it.

An edge of contrast C that is blurred by a Gaussian of deviation σ has the slope C ÷ (σ √2π) in its middle. Eyes, brows
and lips have edges in every face.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from musetalk_cli.engine.avatar.landmarks import Landmarks
from musetalk_cli.engine.types.colour import ByteArray, Planes

# Blur of a sharp image, pixels: of its lens, of its sampling, and of what an encoder leaves.
_SHARP_PX = 0.9
_MOST_PX = 12.0
# Side of the square in which an edge's contrast and slope are measured, heights of the face.
_NEAR = 0.08
_LEAST_CONTRAST, _LEAST_EDGES = 40.0, 16
# An image has soft edges, too; of all of its edges, so many are as sharp as it can be.
_SHARPEST = 0.25
_PARTS = ("left_upper_lid", "right_upper_lid", "left_lower_lid", "right_lower_lid", "left_brow", "right_brow")
_LIPS = ("outer_upper_lip", "outer_lower_lip")


def measure_blur(images: Sequence[tuple[Planes, Landmarks]]) -> float:
    """Deviation of the Gaussian, pixels, that would blur a sharp image as much as these are; 0 for sharp ones."""
    found = sorted(blur for planes, face in images if (blur := _edge_blur(planes.luma, face)) is not None)
    blur_px = found[len(found) // 2] if found else 0.0
    return min(float(np.sqrt(max(blur_px**2 - _SHARP_PX**2, 0.0))), _MOST_PX)


def _edge_blur(luma: ByteArray, face: Landmarks) -> float | None:
    """Deviation of the blur of a face's sharper edges, pixels; None where it has too few."""
    points = np.concatenate([getattr(face, name) for name in (*_PARTS, *_LIPS)])
    side = max(3, round(_NEAR * float(np.ptp(face.oval[:, 1]))) | 1)
    low, high = np.floor(points.min(axis=0)).astype(int) - 2 * side, np.ceil(points.max(axis=0)).astype(int) + 2 * side
    left, top = np.maximum(low, 0)
    part = luma[top : max(int(high[1]), 0), left : max(int(high[0]), 0)].astype(np.float32)
    if min(part.shape) < 3:
        return None
    near = np.ones((side, side), np.uint8)
    contrast = cv2.dilate(part, near) - cv2.erode(part, near)
    across, down = (cv2.Sobel(part, cv2.CV_32F, dx, 1 - dx, ksize=1, scale=0.5) for dx in (1, 0))
    slope = cv2.dilate(cv2.magnitude(across, down), near)
    x, y = np.clip(np.round(points - (left, top)).astype(int), 0, np.array(part.shape[::-1]) - 1).T
    is_edge = contrast[y, x] > _LEAST_CONTRAST
    if is_edge.sum() < _LEAST_EDGES:
        return None
    blur = np.sort((contrast[y, x] / np.maximum(slope[y, x], 1e-3))[is_edge]) / np.sqrt(2 * np.pi)
    return float(blur[int(_SHARPEST * len(blur))])
