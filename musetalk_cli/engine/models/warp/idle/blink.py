"""Eyelids for images that bring none: the skin over an eye, drawn down over it."""

from __future__ import annotations

import numpy as np

from musetalk_cli.engine.avatar.eyelids import Eyelids
from musetalk_cli.engine.avatar.landmarks import Landmarks
from musetalk_cli.engine.models.warp.face.geometry import FloatArray, smooth_curve, smoothstep
from musetalk_cli.engine.models.warp.face.sampling import look_up
from musetalk_cli.engine.types.colour import ByteArray

LEVELS = (0.3, 0.6, 1.0)
_LEAST_OPENING = 0.12  # of an eye, against half its width: below this it is shut already
_MEETING = 1.04  # where the lids meet, from the open upper lid's edge to the lower's
_LASH = 0.05  # lashes hang over the lid's edge, in eye heights
_SKIN = 1.3  # how much skin over the eye takes part, in eye heights


def make_lids(image: ByteArray, face: Landmarks) -> Eyelids | None:
    """Repaint the eyes of ``image`` (uint8 BGR) at the closures ``LEVELS``, from the image's own skin.

    Returns None when neither eye is open, or when they lie outside the image.
    """
    pairs = ((face.left_upper_lid, face.left_lower_lid), (face.right_upper_lid, face.right_lower_lid))
    eyes = [_Eye(upper, lower) for upper, lower in pairs]
    points = np.concatenate([points for pair in pairs for points in pair])
    reach = max(eye.half_width for eye in eyes)
    low = np.floor(np.maximum(points.min(axis=0) - reach, 0)).astype(int)
    high = np.ceil(np.minimum(points.max(axis=0) + reach, image.shape[1::-1])).astype(int)
    if (high - low).min() < 4 or all(eye.height < _LEAST_OPENING for eye in eyes):
        return None
    crop = image[low[1] : high[1], low[0] : high[0]]
    pixels = np.stack(np.meshgrid(*(np.arange(high[k] - low[k], dtype=np.float32) for k in (0, 1))), axis=-1)
    images = []
    for level in LEVELS:
        shut = crop.astype(np.float32)
        for eye in eyes:
            if eye.height >= _LEAST_OPENING:
                shut = eye.draw_down(level, shut, pixels, low.astype(np.float32))
        images.append((shut + 0.5).astype(np.uint8))
    width, height = (int(extent) for extent in high - low)
    return Eyelids((int(low[0]), int(low[1]), width, height), LEVELS, np.stack(images))


class _Eye:
    """One eye in its own axes: x from -1 to 1 between the corners, y down, in half widths."""

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

    def draw_down(self, level: float, crop: FloatArray, pixels: FloatArray, corner: FloatArray) -> FloatArray:
        """An image's crop (h, w, 3), the lid closed by ``level``.

        ``pixels`` (h, w, 2): x and y in the crop, whose first pixel stands at ``corner`` of the image.
        """
        own = (pixels + corner - self._centre) @ self._axes / np.float32(self.half_width)
        x, y = own[..., 0], own[..., 1]
        upper, lower = (np.interp(x, self._x, line).astype(np.float32) for line in (self._upper, self._lower))
        within = 1 - smoothstep(np.abs(x), 0.85, 1.0)
        edge = upper + np.float32(_LASH * self.height) * within
        drop = np.maximum((lower - upper) * np.float32(_MEETING * level), 0)
        top = upper - np.float32(_SKIN * self.height)
        shift = np.where(y > top, (top - y) * drop / (edge + drop - top), 0) * np.float32(self.half_width)
        skin = look_up(crop, pixels + shift[..., None] * self._axes[:, 1])
        below = (y - edge - drop) * np.float32(self.half_width)
        is_lid = np.clip(0.5 - below, 0, 1) * (np.abs(x) < 1) * (y > top)
        # Lashes and the edge's own shadow, which the stretched skin has lost.
        line = np.exp(-((below / np.float32(0.09 * self.height * self.half_width)) ** 2)) * within
        shut = crop + (skin - crop) * is_lid[..., None]
        return np.asarray(shut * (1 - 0.45 * level * line[..., None]), dtype=np.float32)
