"""Y'CbCr planes and landmarks of some frames → brightness of the face's skin, colour of its teeth, tint and blur."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from musetalk_cli.engine.avatar.landmarks import Landmarks
from musetalk_cli.engine.models.warp.face.blur import measure_blur
from musetalk_cli.engine.models.warp.face.tint import Tint, measure_tint
from musetalk_cli.engine.types.colour import Planes, bgr_to_ycbcr

_TOOTH_BGR = (212, 223, 231)  # in good light
_BLACK = 16.0  # luma of black
# Luma of teeth above black is base + factor · luma of skin above black. Fitted to faces that show both; teeth differ
# less from face to face than skin does.
_TOOTH_BASE, _TOOTH_PER_SKIN = 62.0, 0.72
_SEEN_LIGHT = 0.8  # share of the light that reaches teeth between parted lips
_MIN_TOOTH, _MAX_LUMA = 0.88, 225.0  # share of the luma expected from the skin; luma
_MIN_PIXELS = 12
_MAX_COLOUR = 26.0  # distance from grey in Cb and Cr; lips, gums and tongue are further away
_TEETH_SHARE = 70  # percentile of luma between the lips above which pixels may be teeth


@dataclass(frozen=True)
class FaceLighting:
    """The lighting of a face.

    ``skin_luma``: median luma of the cheeks, 16..235. ``tooth`` float32 (3,): Y, Cb, Cr of a front tooth in natural
    colours. ``tint``: how the image's colours differ from these, None where they do not. ``blur_px``: deviation of the
    Gaussian that has blurred it, 0 for a sharp image.
    """

    skin_luma: float
    tooth: NDArray[np.float32]
    tint: Tint | None = None
    blur_px: float = 0.0

    @classmethod
    def of(cls, images: Sequence[tuple[Planes, Landmarks]]) -> FaceLighting:
        """Measure images of a face. The tooth colour is that of its own teeth, or an estimate if none shows."""
        skin = float(_median([_skin_luma(planes, face) for planes, face in images]))
        teeth = [tone for planes, face in images if (tone := _own_teeth(planes, face, skin)) is not None]
        expected, tint, blur_px = _expected_tooth(skin), measure_tint(images), measure_blur(images)
        if not teeth:
            return cls(skin, expected, tint, blur_px)
        tooth = _median(teeth)
        # The measured teeth stood in the lips' shadow.
        lit = _BLACK + (tooth[0] - _BLACK) / _SEEN_LIGHT
        tooth[0] = np.clip(lit, _BLACK + _MIN_TOOTH * (expected[0] - _BLACK), _MAX_LUMA)
        if tint is not None:
            tooth[1:] -= tint.cast
        return cls(skin, tooth, tint, blur_px)


def _expected_tooth(skin_luma: float) -> NDArray[np.float32]:
    wanted = _TOOTH_BASE + _TOOTH_PER_SKIN * (skin_luma - _BLACK)
    tooth = bgr_to_ycbcr(_TOOTH_BGR)
    light = float(np.clip(wanted / (tooth[0] - _BLACK), 0.3, 1.0))
    return bgr_to_ycbcr(np.array(_TOOTH_BGR) * light)


def _skin_luma(planes: Planes, face: Landmarks) -> float:
    """Median luma along the lines from the mouth's corners to the eyes' outer corners."""
    ends = ((face.outer_upper_lip[0], face.left_upper_lid[0]), (face.outer_upper_lip[-1], face.right_upper_lid[-1]))
    steps = np.linspace(0.2, 0.7, 24)[:, None]
    points = np.concatenate([start + (stop - start) * steps for start, stop in ends]).round().astype(int)
    height, width = planes.luma.shape
    x, y = np.clip(points, 0, [width - 1, height - 1]).T
    return float(_median(planes.luma[y, x]))


def _own_teeth(planes: Planes, face: Landmarks, skin_luma: float) -> NDArray[np.float32] | None:
    """Median Y, Cb, Cr of the brighter part between the lips, or None if it is not bright and pale enough for teeth."""
    outline = np.vstack([face.inner_upper_lip, face.inner_lower_lip[::-1]])
    mask = np.zeros(planes.luma.shape, dtype=np.uint8)
    cv2.fillPoly(mask, [outline.round().astype(np.int32)], 1)
    inside = cv2.erode(mask, np.ones((3, 3), np.uint8), borderValue=0) > 0
    if inside.sum() < _MIN_PIXELS:
        return None
    y, x = np.nonzero(inside)
    luma, chroma = planes.luma[y, x].astype(np.float32), planes.chroma[y // 2, x // 2].astype(np.float32)
    is_bright = luma >= max(float(np.percentile(luma, _TEETH_SHARE)), _BLACK + 0.6 * (skin_luma - _BLACK))
    is_tooth = is_bright & (np.abs(chroma - 128).max(axis=1) < _MAX_COLOUR)
    if is_tooth.sum() < _MIN_PIXELS:
        return None
    return _median(np.column_stack([luma, chroma])[is_tooth])


def _median(values: ArrayLike) -> NDArray[np.float32]:
    """The (upper) median along the first axis.

    Not numpy's: ``np.median`` imports masked arrays, which takes a fiftieth of the program's start.
    """
    ordered = np.sort(values, axis=0)
    return np.asarray(ordered[len(ordered) // 2], dtype=np.float32)
