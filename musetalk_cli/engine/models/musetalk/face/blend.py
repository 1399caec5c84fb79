"""Blends a generated face over the avatar's own, as upstream does: only the jaw, with a soft edge, in 8 bits.

Boxes are (left, top, right, bottom) in pixels of the frame. Everything about an avatar frame is computed once, in
``JawBlend``; what is left per output frame is one resize and one product.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.models.musetalk.face.masks import EXPANSION, PARSED_PX, MaskSettings
from musetalk_cli.engine.types.colour import as_bytes
from musetalk_cli.engine.types.messages import ByteArray

FACE_PX = 256  # width and height of the faces that the nets take and generate
BLUR_PREPARED = 0.1  # the mask's blur kernel ÷ the crop's width, where upstream prepares avatars …
BLUR_OFFLINE = 0.05  # … and where it renders a file

# Classes of face parsing (CelebAMask-HQ).
SKIN, NOSE, MOUTH, UPPER_LIP, LOWER_LIP, NECK = 1, 10, 11, 12, 13, 14


class Box(NamedTuple):
    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def height(self) -> int:
        return self.bottom - self.top

    def clip(self, width: int, height: int) -> Box:
        """What of it lies inside a frame."""
        return Box(max(0, self.left), max(0, self.top), min(width, self.right), min(height, self.bottom))


def crop_box(face: Box, expansion: float = EXPANSION) -> Box:
    """The square around a face box that masks are made for; it may leave the frame.

    ``expansion`` is its half side ÷ half of the box's longer one.
    """
    x, y = (face.left + face.right) // 2, (face.top + face.bottom) // 2
    half = int(max(face.width, face.height) // 2 * expansion)
    return Box(x - half, y - half, x + half, y + half)


def mode_mask(classes: ByteArray, settings: MaskSettings) -> ByteArray:
    """Parsed classes uint8 (512, 512) → 255 where a mode shows the generated face, else 0."""
    if settings.mode == "jaw":
        return jaw_mask(classes, settings.left_cheek_px, settings.right_cheek_px)
    return class_mask(classes, has_neck=settings.mode == "neck")


def jaw_mask(classes: ByteArray, left_cheek: int = 90, right_cheek: int = 90) -> ByteArray:
    """Parsed classes uint8 (512, 512) → 0 or 255: mouth, and skin grown upwards, less its sides at the cheeks.

    ``left_cheek``, ``right_cheek``: how far the middle, whose sides are not cut, reaches, in pixels of 512. The left
    cheek is a rectangle of OpenCV's in upstream, which includes its end: column 0 … 256 − ``left_cheek``.
    """
    grown = cv2.dilate((classes == SKIN).astype(np.uint8), _growth_kernel())
    ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (35, 3))
    skin = cv2.erode(grown, ellipse, iterations=2)
    middle = slice(PARSED_PX // 2 - left_cheek + 1, PARSED_PX // 2 + right_cheek)
    skin[:, middle] = grown[:, middle]
    is_face = (skin > 0) & (classes != NOSE) | np.isin(classes, (MOUTH, UPPER_LIP, LOWER_LIP))
    return as_bytes(np.where(is_face, 255, 0))


def class_mask(classes: ByteArray, *, has_neck: bool = False) -> ByteArray:
    """The masks of the modes raw (skin and mouth) and neck (and the neck): uint8, 0 or 255."""
    shown = (SKIN, MOUTH, UPPER_LIP, LOWER_LIP, *((NECK,) if has_neck else ()))
    return as_bytes(np.where(np.isin(classes, shown), 255, 0))


def soften(mask: ByteArray, face: Box, crop: Box, blur: float = BLUR_PREPARED) -> ByteArray:
    """A mask of the crop's size, 0 or 255 → blend weights: lower half, inside the face box, blurred."""
    lower = np.zeros_like(mask)
    inside = (slice(face.top - crop.top, face.bottom - crop.top), slice(face.left - crop.left, face.right - crop.left))
    lower[inside] = mask[inside]
    lower[: int(mask.shape[0] * 0.5)] = 0
    kernel = int(blur * crop.width // 2 * 2) + 1
    return as_bytes(cv2.GaussianBlur(lower, (kernel, kernel), 0))


def crop_face(image: ByteArray, box: Box) -> ByteArray:
    """The nets' input, the box of a BGR image: uint8 (256, 256, 3), stretched to a square, Lanczos-4."""
    part = image[box.top : box.bottom, box.left : box.right]
    return as_bytes(cv2.resize(part, (FACE_PX, FACE_PX), interpolation=cv2.INTER_LANCZOS4))


def resize_face(image: ByteArray, width: int, height: int) -> ByteArray:
    """A generated face at its box's size, bilinear."""
    return as_bytes(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR))


class JawBlend:
    """One avatar frame, ready to take faces.

    ``region`` is all that a face can change: the part of the face box, inside the frame, whose mask is not zero.
    ``frame`` uint8 BGR (H, W, 3); ``mask`` uint8, of ``crop``'s size.
    """

    def __init__(self, frame: ByteArray, face: Box, crop: Box, mask: ByteArray) -> None:
        inside = face.clip(frame.shape[1], frame.shape[0]).clip(crop.right, crop.bottom)
        inside = Box(max(inside.left, crop.left), max(inside.top, crop.top), inside.right, inside.bottom)
        weights = mask[
            inside.top - crop.top : inside.bottom - crop.top, inside.left - crop.left : inside.right - crop.left
        ]
        rows, columns = (np.flatnonzero(weights.any(axis=axis)) for axis in (1, 0))
        if not len(rows):
            rows = columns = np.array([0, -1])
        region = Box(*(int(v) for v in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)))
        self.region = Box(
            inside.left + region.left, inside.top + region.top, inside.left + region.right, inside.top + region.bottom
        )
        self._face = face
        weights = weights[region.top : region.bottom, region.left : region.right, None]
        self._weights = weights.astype(np.uint16)
        own = frame[self.region.top : self.region.bottom, self.region.left : self.region.right]
        self._own = own * (255 - self._weights) + np.uint16(128)

    def blend(self, image: ByteArray) -> ByteArray:
        """A generated face uint8 BGR (any size) → what ``region`` shows with it, uint8 BGR.

        Weights in 255ths, rounded as Pillow's paste does: t = m·new + (255 − m)·old + 128, (t + t ÷ 256) ÷ 256. The
        largest t is 65,153, so 16 bits hold it.
        """
        face = resize_face(image, self._face.width, self._face.height)
        left, top = self.region.left - self._face.left, self.region.top - self._face.top
        part = face[top : top + self.region.height, left : left + self.region.width]
        total = part * self._weights
        total += self._own
        total += total >> 8
        return as_bytes(total >> 8)


def _growth_kernel() -> NDArray[np.uint8]:
    """A house: widths 1, 3, … 21 in rows 10 to 20 of 33, then 21 to the end. It grows 16 px up and 6 px down."""
    kernel = np.zeros((33, 33), np.uint8)
    for row in range(10, 33):
        half = min(row - 10, 10)
        kernel[row, 16 - half : 17 + half] = 1
    return kernel
