"""How far the generated lower face replaces the avatar's own: a soft mask of jaw and mouth, from landmarks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.landmarks import FloatArray, Landmarks
from musetalk_cli.engine.types.colour import ByteArray, as_bytes

MASK_PX = 64
# MuseTalk's parsing is given a square around the face's box, half as large again, on 512 pixels; its figures below are
# in those pixels, and so is what they are scaled from.
EXPANSION = 1.5
PARSED_PX = 512
_GROW_UP_PX, _GROW_DOWN_PX, _GROW_SIDE_PX = 16, 6, 10
_CHEEK_SHRINK_SIDE_PX, _CHEEK_SHRINK_UP_PX = 34, 2
_BLUR_SHARE = 0.1  # of the crop's width, the Gaussian's kernel
_UPPER_SHARE = 0.5  # of the crop's height: what lies above stays as it is

# A quarter of the parsing's resolution: the mask is blurred over 50 of its pixels afterwards.
_WORK_PX = 128
_SCALE = _WORK_PX / PARSED_PX
_SUBPIXEL_BITS = 8


@dataclass(frozen=True)
class MaskSettings:
    """What of the face a mask shows.

    ``mode``: ``jaw``, the skin grown past its edges but shrunk sideways over the cheeks, and the mouth; ``raw``, skin
    and mouth as they are; ``neck``, these and the neck. None of them shows the nose. For ``jaw``, ``left_cheek_px`` and
    ``right_cheek_px`` say how far the part whose sides are not shrunk reaches from the middle, in 512ths of the square
    around the face: a larger one replaces more of that cheek.
    """

    mode: Literal["jaw", "raw", "neck"] = "jaw"
    left_cheek_px: int = 90
    right_cheek_px: int = 90


DEFAULT = MaskSettings()


def face_mask(face: Landmarks, box: NDArray[np.int32], settings: MaskSettings = DEFAULT) -> ByteArray:
    """The mask of one face, uint8 (MASK_PX, MASK_PX), to be stretched over its ``box`` (left, top, right, bottom).

    255 where the new face shows, 0 where the old one does; 0 along the box's left, right and lower edge, so that no
    step shows there. It is MuseTalk's mask with the face's outline, nose and lips taken from landmarks instead of a
    parsing network: in ``jaw`` mode skin grown by 16 pixels up, 6 down and 10 aside, but shrunk sideways over the
    cheeks, without the nose, with the mouth, below the box's middle, then blurred.
    """
    crop = _Crop(box)
    skin = crop.fill(face.oval)
    if settings.mode == "jaw":
        skin = _reshape_jaw(skin, settings)
    elif settings.mode == "neck":
        skin = as_bytes(cv2.max(skin, crop.fill(neck_outline(face, box))))
    mouth = crop.fill(mouth_outline(face))
    mask = cv2.max(cv2.min(skin, cv2.bitwise_not(crop.fill(nose_outline(face)))), mouth)
    return crop.soften(as_bytes(mask))


def soften_mask(mask: ByteArray, box: NDArray[np.int32]) -> ByteArray:
    """A hard mask uint8 (n, n) of the square around a box, as ``face_mask`` gives one."""
    return _Crop(box).soften(as_bytes(cv2.resize(mask, (_WORK_PX, _WORK_PX), interpolation=cv2.INTER_AREA)))


def mouth_outline(face: Landmarks) -> FloatArray:
    """Around both lips, (n, 2)."""
    return np.concatenate([face.outer_upper_lip, face.outer_lower_lip[::-1]])


def nose_outline(face: Landmarks) -> FloatArray:
    """Bridge, wings and base, (4, 2)."""
    bridge, _, base, left, right = face.nose
    return np.stack([bridge, right, base, left])


def neck_outline(face: Landmarks, box: NDArray[np.int32]) -> FloatArray:
    """From one angle of the jaw along it to the other, and as far down again as the box is high, (n, 2)."""
    jaw = face.oval[12:25]
    depth = np.array([0, box[3] - box[1]], dtype=np.float32)
    return np.concatenate([jaw, jaw[[-1, 0]] + depth])


def _reshape_jaw(skin: ByteArray, settings: MaskSettings) -> ByteArray:
    grown = cv2.dilate(skin, _reach(_GROW_SIDE_PX, _GROW_UP_PX, _GROW_DOWN_PX))
    cheeks = cv2.erode(grown, _reach(_CHEEK_SHRINK_SIDE_PX, _CHEEK_SHRINK_UP_PX, _CHEEK_SHRINK_UP_PX))
    left, right = (round(width * _SCALE) for width in (settings.left_cheek_px, settings.right_cheek_px))
    middle = slice(_WORK_PX // 2 - left, _WORK_PX // 2 + right)
    cheeks[:, middle] = grown[:, middle]
    return as_bytes(cheeks)


class _Crop:
    """The square around a box, on _WORK_PX pixels."""

    def __init__(self, box: NDArray[np.int32]) -> None:
        left, top, right, bottom = (int(value) for value in box)
        half = max(1, int(max(right - left, bottom - top) // 2 * EXPANSION))
        self._corner = np.array([(left + right) // 2 - half, (top + bottom) // 2 - half])
        self._factor = _WORK_PX / (2 * half)
        self._box = (np.array([[left, top], [right, bottom]]) - self._corner) * self._factor

    def fill(self, outline: FloatArray) -> ByteArray:
        """A polygon of the image as 255 on 0, its edge smooth, so that it moves in less than whole pixels."""
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
