"""The head's small rigid motion on the image, fading out towards shoulders and borders."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.landmarks import Landmarks
from musetalk_cli.engine.models.warp.face.geometry import FloatArray, smoothstep
from musetalk_cli.engine.models.warp.idle.life import Pose

# In face heights (forehead to chin): up to where hair moves with the face, and where all motion has died away.
_STIFF_ABOVE, _STILL_ABOVE = 0.30, 0.46  # over the forehead
_STIFF_BESIDE, _STILL_BESIDE = 0.54, 0.70  # from the middle
_STIFF_BELOW, _STILL_BELOW = 0.05, 0.50  # under the chin
_NECK_BELOW = 0.40
_BORDER = 0.14


class Sway:
    """Where the head's motion acts: fully on face and hair, not at all on shoulders and at the image's borders.

    ``bounds_px``: left, top, right, bottom of everything that can move.
    """

    def __init__(self, face: Landmarks, size: tuple[int, int]) -> None:
        """``face`` in pixels of an image of ``size`` (width, height)."""
        top, chin = face.oval[0].astype(np.float64), face.oval[18].astype(np.float64)
        self._height_px = max(float(np.hypot(*(chin - top))), 4.0)
        self._down = (chin - top) / self._height_px
        self._aside = np.array([-self._down[1], self._down[0]])
        self._chin, self._size = chin, size
        corners = [
            chin + (self._down * v + self._aside * u) * self._height_px
            for v in (-1 - _STILL_ABOVE, _STILL_BELOW)
            for u in (-_STILL_BESIDE, _STILL_BESIDE)
        ]
        low, high = np.min(corners, axis=0), np.max(corners, axis=0)
        self.bounds_px = np.concatenate([np.clip(low, 0, size), np.clip(high, 0, size)]).astype(np.float32)

    def on(self, nodes: FloatArray) -> SwayField:
        """The motion on nodes (h, w, 2), in pixels."""
        relative = (nodes - self._chin) / self._height_px
        down, aside = relative @ self._down, np.abs(relative @ self._aside)
        weight = 1 - smoothstep(down, _STIFF_BELOW, _STILL_BELOW)
        weight *= 1 - smoothstep(-down, 1 + _STIFF_ABOVE, 1 + _STILL_ABOVE)
        weight *= 1 - smoothstep(aside, _STIFF_BESIDE, _STILL_BESIDE)
        x, y = nodes[..., 0], nodes[..., 1]
        to_border = np.minimum.reduce([x, self._size[0] - 1 - x, y, self._size[1] - 1 - y])
        weight *= smoothstep(to_border, 0.0, _BORDER * self._height_px)
        neck = self._chin + self._down * (_NECK_BELOW * self._height_px)
        return SwayField(nodes, weight, neck, self._height_px)


class SwayField:
    """The motion on a grid of nodes; immutable."""

    def __init__(self, nodes: FloatArray, weight: FloatArray, neck: NDArray[np.float64], height_px: float) -> None:
        """``weight`` (h, w) of the motion at ``nodes`` (h, w, 2); it turns about ``neck``, all in pixels."""
        self._weighted = np.dstack([nodes * weight[..., None], weight])
        self._neck, self._height_px = neck, height_px

    def matrix(self, pose: Pose) -> FloatArray:
        """2×3: the way from an output pixel to where it is taken from: the pose undone, less the identity."""
        cos, sin = np.cos(pose.angle), np.sin(pose.angle)
        rotation = np.array([[cos, sin], [-sin, cos]])
        shift_px = np.array([pose.shift_x, pose.shift_y]) * self._height_px
        move = self._neck - rotation @ (self._neck + shift_px)
        return np.column_stack([rotation - np.eye(2), move]).astype(np.float32)

    def offset(self, matrix: FloatArray) -> FloatArray:
        """Displacement (h, w, 2) in pixels at every node."""
        return np.asarray(cv2.transform(self._weighted, matrix), dtype=np.float32)
