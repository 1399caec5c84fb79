"""The light on a face: how bright its skin is, and what colour its teeth are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from musetalk_cli.engine.avatar.landmarks import Landmarks
from musetalk_cli.engine.types.colour import Planes, bgr_to_ycbcr

_TOOTH_BGR = (212, 223, 231)  # in good light
_BLACK = 16.0  # luma of black
# Luma of teeth above black, for skin of luma s above black: measured where both can be seen, teeth differ less from
# face to face than skin does.
_TOOTH_BASE, _TOOTH_PER_SKIN = 62.0, 0.72
_SEEN_LIGHT = 0.8  # share of the light that teeth between parted lips get
_LEAST_TOOTH, _MOST_LUMA = 0.88, 225.0  # share of what the skin lets expect; luma
_LEAST_PIXELS = 12
_MOST_COLOUR = 26.0  # distance from grey in Cb, Cr: lips, gums and tongue are further away
_TEETH_SHARE = 70  # percentile of luma between the lips from which on it is taken for teeth


@dataclass(frozen=True)
class FaceLight:
    """``skin_luma``: typical of the cheeks, 16..235. ``tooth`` float32 (3,): Y, Cb, Cr of a tooth in front."""

    skin_luma: float
    tooth: NDArray[np.float32]

    @classmethod
    def of(cls, seen: Sequence[tuple[Planes, Landmarks]]) -> FaceLight:
        """From some images of a face: its own teeth where any image shows them, else what its skin lets expect."""
        skin = float(_middle([_skin_luma(planes, face) for planes, face in seen]))
        teeth = [tone for planes, face in seen if (tone := _own_teeth(planes, face, skin)) is not None]
        expected = _expected_tooth(skin)
        if not teeth:
            return cls(skin, expected)
        tooth = _middle(teeth)
        # What was seen stood in the lips' shade.
        lit = _BLACK + (tooth[0] - _BLACK) / _SEEN_LIGHT
        tooth[0] = np.clip(lit, _BLACK + _LEAST_TOOTH * (expected[0] - _BLACK), _MOST_LUMA)
        return cls(skin, tooth)


def _expected_tooth(skin_luma: float) -> NDArray[np.float32]:
    wanted = _TOOTH_BASE + _TOOTH_PER_SKIN * (skin_luma - _BLACK)
    tooth = bgr_to_ycbcr(_TOOTH_BGR)
    light = float(np.clip(wanted / (tooth[0] - _BLACK), 0.3, 1.0))
    return bgr_to_ycbcr(np.array(_TOOTH_BGR) * light)


def _skin_luma(planes: Planes, face: Landmarks) -> float:
    """The median along lines from the mouth's corners to the eyes' outer corners."""
    ends = ((face.outer_upper_lip[0], face.left_upper_lid[0]), (face.outer_upper_lip[-1], face.right_upper_lid[-1]))
    steps = np.linspace(0.2, 0.7, 24)[:, None]
    points = np.concatenate([start + (stop - start) * steps for start, stop in ends]).round().astype(int)
    height, width = planes.luma.shape
    x, y = np.clip(points, 0, [width - 1, height - 1]).T
    return float(_middle(planes.luma[y, x]))


def _own_teeth(planes: Planes, face: Landmarks, skin_luma: float) -> NDArray[np.float32] | None:
    """Typical Y, Cb, Cr of the brighter part between the lips, when it is pale and bright enough to be teeth."""
    outline = np.vstack([face.inner_upper_lip, face.inner_lower_lip[::-1]])
    mask = np.zeros(planes.luma.shape, dtype=np.uint8)
    cv2.fillPoly(mask, [outline.round().astype(np.int32)], 1)
    inside = cv2.erode(mask, np.ones((3, 3), np.uint8), borderValue=0) > 0
    if inside.sum() < _LEAST_PIXELS:
        return None
    y, x = np.nonzero(inside)
    luma, chroma = planes.luma[y, x].astype(np.float32), planes.chroma[y // 2, x // 2].astype(np.float32)
    is_bright = luma >= max(float(np.percentile(luma, _TEETH_SHARE)), _BLACK + 0.6 * (skin_luma - _BLACK))
    is_tooth = is_bright & (np.abs(chroma - 128).max(axis=1) < _MOST_COLOUR)
    if is_tooth.sum() < _LEAST_PIXELS:
        return None
    return _middle(np.column_stack([luma, chroma])[is_tooth])


def _middle(values: ArrayLike) -> NDArray[np.float32]:
    """The (upper) median along the first axis. numpy's own loads its masked arrays, a fiftieth of a start."""
    ordered = np.sort(values, axis=0)
    return np.asarray(ordered[len(ordered) // 2], dtype=np.float32)
