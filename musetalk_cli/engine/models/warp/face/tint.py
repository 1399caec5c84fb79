"""Y'CbCr planes and landmarks of some frames → the tint of their image, which the inside of a mouth takes on.

A grey, sepia or duotone image has one colour for each brightness. A faded one has less of its natural colours, and one
with a colour cast is shifted as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.landmarks import Landmarks
from musetalk_cli.engine.models.warp.face.geometry import FloatArray
from musetalk_cli.engine.types.colour import Planes

_FACE_PX = 56  # width at which a face is measured: edges are averaged, where compression blurs chroma alone
_PATCH_PX = 3.0  # standard deviation of the average over patches, at that size
_NUM_LEVELS = 24  # of brightness, for each of which the face's colour is known
_BLACK = 16.0
_NEUTRAL = np.float32(128)
# How far patches of a face lie from the colour that is usual for their brightness: below the first, there is one colour
# for each brightness; above the second, all natural ones. Measured: 0 to 1.5 for grey, sepia and duotone, 2.4 to 4.5
# for natural faces. The shares are of patches that are nearer; on a plain drawn face only the lips have another colour.
_COLOURFUL = ((0.9, 1.0), (0.97, 0.65))
_SPREAD = (1.3, 2.2)
# The same for skin: how far from grey it is towards red and yellow, at least, in natural colours.
_LEAST_SKIN = 10.0
_MAX_EXTRAPOLATION = 16.0
# Cb and Cr of skin less 128, from the palest to the most colourful, whatever its brightness.
_SKIN_LOW, _SKIN_HIGH = np.array([-32.0, 2.0]), np.array([-1.0, 36.0])


@dataclass(frozen=True)
class Tint:
    """How an image's colours differ from natural ones.

    ``naturalness`` 0..1: how much of natural colours it has. ``levels`` float32 (n,): luma, ascending; ``colours``
    float32 (n, 2): Cb, Cr that its pixels of that luma have. ``cast`` float32 (2,): by how much Cb and Cr of skin are
    shifted, and ``skin_luma`` where.
    """

    naturalness: float
    levels: FloatArray
    colours: FloatArray
    cast: FloatArray
    skin_luma: float

    def apply(self, colour: FloatArray) -> None:
        """Give Y, Cb, Cr float32 (..., 3) this tint, in place; luma stays."""
        luma = colour[..., 0]
        light = np.clip((luma - np.float32(_BLACK)) / np.float32(max(self.skin_luma - _BLACK, 1.0)), 0, 1.2)
        share = np.float32(self.naturalness)
        for plane in (0, 1):
            usual = np.interp(luma, self.levels, self.colours[:, plane]).astype(np.float32)
            natural = colour[..., 1 + plane] + self.cast[plane] * light
            colour[..., 1 + plane] = usual + share * (natural - usual)


def measure_tint(images: Sequence[tuple[Planes, Landmarks]]) -> Tint | None:
    """The tint of the faces in some images; None where their colours are natural."""
    faces = [_shrink_face(planes, face) for planes, face in images]
    pixels = np.concatenate([face[face[..., 3] > 0][:, :3] for face in faces])
    if len(pixels) < _NUM_LEVELS:
        return None
    groups = np.array_split(pixels[np.argsort(pixels[:, 0], kind="stable")], _NUM_LEVELS)
    usual = np.array([_median(group) for group in groups], np.float32)
    levels, colours = usual[:, 0], usual[:, 1:]
    away = np.sort(np.concatenate([_unusual(face, levels, colours) for face in faces]))
    spread = max(float(away[int(share * (len(away) - 1))]) * weight for share, weight in _COLOURFUL)
    skin = _median(pixels)
    tone = (skin[1:] - _NEUTRAL).astype(np.float64)
    natural = float(np.clip((spread - _SPREAD[0]) / (_SPREAD[1] - _SPREAD[0]), 0, 1))
    warmth = float(tone[1] - tone[0]) / 2**0.5
    if warmth > 0:
        natural = min(natural, warmth / _LEAST_SKIN, 1.0)
    cast = tone - np.clip(tone, _SKIN_LOW, _SKIN_HIGH)
    if natural == 1 and not cast.any():
        return None
    levels, colours = _down_to_black(levels, colours)
    return Tint(natural, levels, colours, cast.astype(np.float32), float(skin[0]))


def _down_to_black(levels: FloatArray, colours: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The same with a level for black, as a mouth may be darker than any other part of a face.

    Its colour is extrapolated from the darker half of the levels, by _MAX_EXTRAPOLATION at most.
    """
    sixth = len(levels) // 6
    dark, light = slice(0, sixth), slice(2 * sixth, 3 * sixth)
    slope = (colours[light].mean(axis=0) - colours[dark].mean(axis=0)) / max(
        float(levels[light].mean() - levels[dark].mean()), 1.0
    )
    step = np.clip(slope * (_BLACK - levels[0]), -_MAX_EXTRAPOLATION, _MAX_EXTRAPOLATION)
    black = np.float32(min(_BLACK, float(levels[0])))
    return (
        np.concatenate([[black], levels]).astype(np.float32),
        np.concatenate([[colours[0] + step], colours]).astype(np.float32),
    )


def _shrink_face(planes: Planes, face: Landmarks) -> FloatArray:
    """A face as float32 (h, w, 4), _FACE_PX wide or less: Y, Cb, Cr, and 1 within its outline."""
    height, width = planes.chroma.shape[:2]
    low = np.clip(np.floor(face.oval.min(axis=0) / 2), 0, [width - 1, height - 1]).astype(int)
    high = np.clip(np.ceil(face.oval.max(axis=0) / 2), low + 1, [width, height]).astype(int)
    scale = min(1.0, _FACE_PX / int(high[0] - low[0]))
    size = [max(1, round(int(side) * scale)) for side in high - low]
    luma = planes.luma[2 * low[1] : 2 * high[1], 2 * low[0] : 2 * high[0]]
    chroma = planes.chroma[low[1] : high[1], low[0] : high[0]]
    small = [cv2.resize(each.astype(np.float32), size, interpolation=cv2.INTER_AREA) for each in (luma, chroma)]
    mask = np.zeros((size[1], size[0]), np.uint8)
    cv2.fillPoly(mask, [((face.oval / 2 - low) * size / (high - low)).round().astype(np.int32)], 1)
    return np.dstack([*small, mask]).astype(np.float32)


def _unusual(face: FloatArray, levels: FloatArray, colours: FloatArray) -> FloatArray:
    """How far each patch of a face lies from the colours that are usual for its brightness, (n,)."""
    inside = face[..., 3]
    away = [(face[..., 1 + k] - np.interp(face[..., 0], levels, colours[:, k])) * inside for k in (0, 1)]
    patches = cv2.GaussianBlur(np.dstack([*away, inside]).astype(np.float32), (0, 0), _PATCH_PX)
    length = np.hypot(patches[..., 0], patches[..., 1]) / np.maximum(patches[..., 2], np.float32(0.3))
    return np.asarray(length[inside > 0], np.float32)


def _median(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The (upper) median along the first axis; not numpy's, which takes long to import."""
    return np.asarray(np.sort(values, axis=0)[len(values) // 2], np.float32)
