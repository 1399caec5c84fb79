"""Image uint8 BGR (h, w, 3) and landmarks → images of its eyes at three closures, for avatars that bring none.

The skin above an eye is stretched down over it.
"""

from __future__ import annotations

import numpy as np

from musetalk_cli.engine.avatar.eyelids import Eyelids
from musetalk_cli.engine.avatar.landmarks import Landmarks
from musetalk_cli.engine.models.warp.face.geometry import FloatArray, smooth_curve, smoothstep
from musetalk_cli.engine.models.warp.face.sampling import sample_bilinear
from musetalk_cli.engine.types.colour import ByteArray

LEVELS = (0.3, 0.6, 1.0)
_MIN_OPENING = 0.12  # height of an eye relative to half its width, below which it counts as closed already
_MEETING = 1.04  # where the lids meet, as a share of the way from the open upper lid to the lower
_LASH = 0.05  # how far lashes extend below the lid's edge, in eye heights
_SKIN = 1.3  # height of the skin above the eye that is stretched, in eye heights


def make_lids(image: ByteArray, face: Landmarks) -> Eyelids | None:
    """Draw the eyes of ``image`` (uint8 BGR) at the closures ``LEVELS``, from the image's own skin.

    Returns None when neither eye is open, or when they lie outside the image.
    """
    pairs = ((face.left_upper_lid, face.left_lower_lid), (face.right_upper_lid, face.right_lower_lid))
    eyes = [_Eye(upper, lower) for upper, lower in pairs]
    points = np.concatenate([points for pair in pairs for points in pair])
    reach = max(eye.half_width for eye in eyes)
    low = np.floor(np.maximum(points.min(axis=0) - reach, 0)).astype(int)
    high = np.ceil(np.minimum(points.max(axis=0) + reach, image.shape[1::-1])).astype(int)
    if (high - low).min() < 4 or all(eye.height < _MIN_OPENING for eye in eyes):
        return None
    crop = image[low[1] : high[1], low[0] : high[0]]
    pixels = np.stack(np.meshgrid(*(np.arange(high[k] - low[k], dtype=np.float32) for k in (0, 1))), axis=-1)
    images = []
    for level in LEVELS:
        shut = crop.astype(np.float32)
        for eye in eyes:
            if eye.height >= _MIN_OPENING:
                shut = eye.close(level, shut, pixels, low.astype(np.float32))
        images.append((shut + 0.5).astype(np.uint8))
    width, height = (int(extent) for extent in high - low)
    return Eyelids((int(low[0]), int(low[1]), width, height), LEVELS, np.stack(images))


class _Eye:
    """One eye in its own coordinates: x from -1 to 1 between the corners, y down, in half widths of the eye."""

    def __init__(self, upper: FloatArray, lower: FloatArray) -> None:
        left, right = (upper[0] + lower[0]) / 2, (upper[-1] + lower[-1]) / 2
        self._centre, along = (left + right) / 2, (right - left) / 2
        self.half_width = max(float(np.hypot(*along)), 1e-3)
        x_axis = along / self.half_width
        self._axes = np.column_stack([x_axis, [-x_axis[1], x_axis[0]]]).astype(np.float32)
        self._x = np.linspace(-1, 1, 64, dtype=np.float32)
        self._upper, self._lower = (self._as_function(points) for points in (upper, lower))
        self._lower = np.maximum(self._lower, self._upper)
        self.height = float((self._lower - self._upper).max())

    def _as_function(self, points: FloatArray) -> FloatArray:
        curve = (smooth_curve(points) - self._centre) @ self._axes / self.half_width
        order = np.argsort(curve[:, 0], kind="stable")
        return np.asarray(np.interp(self._x, curve[order, 0], curve[order, 1]), dtype=np.float32)

    def close(self, level: float, crop: FloatArray, pixels: FloatArray, corner: FloatArray) -> FloatArray:
        """The crop with the lid closed by ``level``, float32 (h, w, 3).

        Args:
            level: Closure, 0..1.
            crop: Crop of the image, float32 BGR (h, w, 3).
            pixels: x and y of every pixel of the crop, (h, w, 2).
            corner: Position in the image of the crop's first pixel, (2,).
        """
        own = (pixels + corner - self._centre) @ self._axes / np.float32(self.half_width)
        x, y = own[..., 0], own[..., 1]
        upper, lower = (np.interp(x, self._x, line).astype(np.float32) for line in (self._upper, self._lower))
        within = 1 - smoothstep(np.abs(x), 0.85, 1.0)
        edge = upper + np.float32(_LASH * self.height) * within
        drop = np.maximum((lower - upper) * np.float32(_MEETING * level), 0)
        top = upper - np.float32(_SKIN * self.height)
        shift = np.where(y > top, (top - y) * drop / (edge + drop - top), 0) * np.float32(self.half_width)
        skin = sample_bilinear(crop, pixels + shift[..., None] * self._axes[:, 1])
        below = (y - edge - drop) * np.float32(self.half_width)
        is_lid = np.clip(0.5 - below, 0, 1) * (np.abs(x) < 1) * (y > top)
        # Lashes and the shadow of the lid's edge, which the stretched skin lacks.
        line = np.exp(-((below / np.float32(0.09 * self.height * self.half_width)) ** 2)) * within
        shut = crop + (skin - crop) * is_lid[..., None]
        return np.asarray(shut * (1 - 0.45 * level * line[..., None]), dtype=np.float32)
