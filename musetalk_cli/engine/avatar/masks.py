"""How far the painted lower face replaces the avatar's own: a soft mask of jaw and mouth, from landmarks."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.landmarks import FloatArray, Landmarks
from musetalk_cli.engine.avatar.mesh import landmarks_of
from musetalk_cli.engine.colour import ByteArray, as_bytes

MASK_PX = 64
# MuseTalk's parsing looks at a square around the face's box, half as large again, on 512 pixels; its figures below are
# in those pixels, and so is what they are scaled from.
EXPANSION = 1.5
_PARSED_PX = 512
_CHEEK_PX = 90  # columns outside ±90 of the middle belong to the cheeks
_GROW_UP_PX, _GROW_DOWN_PX, _GROW_SIDE_PX = 16, 6, 10
_CHEEK_SHRINK_SIDE_PX, _CHEEK_SHRINK_UP_PX = 34, 2
_BLUR_SHARE = 0.1  # of the crop's width, the Gaussian's kernel
_UPPER_SHARE = 0.5  # of the crop's height: what lies above stays as it is

# A quarter of the parsing's resolution: the mask is blurred over 50 of its pixels afterwards.
_WORK_PX = 128
_SCALE = _WORK_PX / _PARSED_PX
_SUBPIXEL_BITS = 8


def face_mask(face: Landmarks, box: NDArray[np.int32]) -> ByteArray:
    """The mask of one face, uint8 (MASK_PX, MASK_PX), to be stretched over its ``box`` (left, top, right, bottom).

    255 where the new face shows, 0 where the old one does; 0 along the box's left, right and lower edge, so that no
    step shows there. It is MuseTalk's "jaw" mode with the face's outline, nose and lips taken from landmarks instead
    of a parsing network: skin grown by 16 pixels up, 6 down and 10 aside, but shrunk sideways over the cheeks, without
    the nose, with the mouth, below the box's middle, then blurred.
    """
    crop = _Crop(box)
    skin = crop.fill(face.oval)
    grown = cv2.dilate(skin, _reach(_GROW_SIDE_PX, _GROW_UP_PX, _GROW_DOWN_PX))
    cheeks = cv2.erode(grown, _reach(_CHEEK_SHRINK_SIDE_PX, _CHEEK_SHRINK_UP_PX, _CHEEK_SHRINK_UP_PX))
    middle, side = _WORK_PX // 2, round(_CHEEK_PX * _SCALE)
    cheeks[:, middle - side : middle + side] = grown[:, middle - side : middle + side]
    mouth = crop.fill(np.concatenate([face.outer_upper_lip, face.outer_lower_lip[::-1]]))
    bridge, _, base, left, right = face.nose
    nose = crop.fill(np.stack([bridge, right, base, left]))
    mask = cv2.max(cv2.min(cheeks, cv2.bitwise_not(nose)), mouth)
    return crop.soften(as_bytes(mask))


def face_masks(points: FloatArray, boxes: NDArray[np.int32], report: Callable[[int], None]) -> ByteArray:
    """The masks of meshes float32 (n, 468, 2) and their boxes int32 (n, 4): uint8 (n, MASK_PX, MASK_PX).

    ``report`` is told how many are done.
    """
    masks = np.empty((len(points), MASK_PX, MASK_PX), dtype=np.uint8)
    for index, (mesh, box) in enumerate(zip(points, boxes, strict=True)):
        masks[index] = face_mask(landmarks_of(mesh), box)
        report(index + 1)
    return masks


class _Crop:
    """The square around a box, on _WORK_PX pixels."""

    def __init__(self, box: NDArray[np.int32]) -> None:
        left, top, right, bottom = (int(value) for value in box)
        half = max(1, int(max(right - left, bottom - top) // 2 * EXPANSION))
        self._corner = np.array([(left + right) // 2 - half, (top + bottom) // 2 - half])
        self._factor = _WORK_PX / (2 * half)
        self._box = (np.array([[left, top], [right, bottom]]) - self._corner) * self._factor

    def fill(self, outline: FloatArray) -> ByteArray:
        """A polygon of the picture as 255 on 0, its edge smooth, so that it moves in less than whole pixels."""
        points = ((outline - self._corner + 0.5) * self._factor - 0.5) * (1 << _SUBPIXEL_BITS)
        canvas = np.zeros((_WORK_PX, _WORK_PX), dtype=np.uint8)
        return as_bytes(cv2.fillPoly(canvas, [np.round(points).astype(np.int32)], 255, cv2.LINE_AA, _SUBPIXEL_BITS))

    def soften(self, mask: ByteArray) -> ByteArray:
        """Cut a mask to the lower part of the box, blur it, and give the box's part of it at MASK_PX.

        It is cut so far inside the box's edges that the blur ends there: cut at them, as MuseTalk has it, it would be
        half there.
        """
        kernel = int(_BLUR_SHARE * _WORK_PX // 2 * 2) + 1
        (left, top), (right, bottom) = self._box
        inset = 2 * (0.3 * ((kernel - 1) / 2 - 1) + 0.8)  # two sigmas, as OpenCV derives them from a kernel
        columns, rows = np.arange(_WORK_PX), np.arange(_WORK_PX)
        inside = (
            _covered(columns, left + inset, right - inset)[None, :]
            * _covered(rows, _WORK_PX * _UPPER_SHARE, bottom - inset)[:, None]
        )
        soft = cv2.GaussianBlur((mask * inside).astype(np.float32), (kernel, kernel), 0)
        step = np.array([right - left, bottom - top]) / MASK_PX
        to_crop = np.array([[step[0], 0, left + step[0] / 2 - 0.5], [0, step[1], top + step[1] / 2 - 0.5]])
        small = cv2.warpAffine(soft, to_crop, (MASK_PX, MASK_PX), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        small[:, [0, -1]], small[-1] = 0, 0
        return as_bytes(np.round(small))


def _covered(pixels: NDArray[np.int_], low: float, high: float) -> FloatArray:
    """How much of each pixel (centres at integers) a span from ``low`` to ``high`` (edges) covers, 0..1."""
    return np.asarray(np.clip(np.minimum(pixels + 1 - low, high - pixels), 0, 1), dtype=np.float32)


def _reach(side_px: int, up_px: int, down_px: int) -> ByteArray:
    """A rectangle as structuring element: what is dilated with it grows so far, in parsing pixels.

    The parsing's own element tapers downwards; the blur that follows leaves nothing of the difference.
    """
    side, up, down = (max(0, round(value * _SCALE)) for value in (side_px, up_px, down_px))
    reach = max(side, up, down)
    element = np.zeros((2 * reach + 1, 2 * reach + 1), dtype=np.uint8)
    element[reach - down : reach + up + 1, reach - side : reach + side + 1] = 1
    return element
