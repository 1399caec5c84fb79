"""LifeState and grid nodes (h, w, 2) → displacement field (h, w, 2) in pixels that sways the head in the image.

The motion is rigid on face and hair and fades out towards shoulders and image borders.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.landmarks import Landmarks
from musetalk_cli.engine.avatar.visibility import Area
from musetalk_cli.engine.models.warp.face.geometry import FloatArray, smoothstep
from musetalk_cli.engine.models.warp.idle.life import LifeState

# In face heights (forehead to chin): up to where hair moves rigidly with the face, and from where nothing moves.
_RIGID_ABOVE, _FIXED_ABOVE = 0.30, 0.46  # over the forehead
_RIGID_BESIDE, _FIXED_BESIDE = 0.54, 0.70  # from the middle
_RIGID_BELOW, _FIXED_BELOW = 0.05, 0.50  # under the chin
_NECK_BELOW = 0.40  # the pivot, under the chin
_REACH = 0.04
_BORDER = 0.14  # width of the fade at the image's borders


class HeadSway:
    """Where the head's motion acts: fully on face and hair, not at all on shoulders and the image's borders.

    ``bounds_px``: left, top, right, bottom of everything that can move; ``reach_px``: by how much, at most.
    """

    def __init__(self, face: Landmarks, area: Area) -> None:
        """``face`` in pixels of an image that shows something within ``area``."""
        top, chin = face.oval[0].astype(np.float64), face.oval[18].astype(np.float64)
        self._height_px = max(float(np.hypot(*(chin - top))), 4.0)
        self._down = (chin - top) / self._height_px
        self._aside = np.array([-self._down[1], self._down[0]])
        self._chin, self._area = chin, area
        self.reach_px = _REACH * self._height_px
        corners = [
            chin + (self._down * v + self._aside * u) * self._height_px
            for v in (-1 - _FIXED_ABOVE, _FIXED_BELOW)
            for u in (-_FIXED_BESIDE, _FIXED_BESIDE)
        ]
        low, high = np.min(corners, axis=0), np.max(corners, axis=0)
        first, last = (area.left, area.top), (area.right, area.bottom)
        self.bounds_px = np.concatenate([np.clip(low, first, last), np.clip(high, first, last)]).astype(np.float32)

    def field_on(self, nodes: FloatArray) -> SwayField:
        """The field on ``nodes`` (h, w, 2), pixels."""
        relative = (nodes - self._chin) / self._height_px
        down, aside = relative @ self._down, np.abs(relative @ self._aside)
        weight = 1 - smoothstep(down, _RIGID_BELOW, _FIXED_BELOW)
        weight *= 1 - smoothstep(-down, 1 + _RIGID_ABOVE, 1 + _FIXED_ABOVE)
        weight *= 1 - smoothstep(aside, _RIGID_BESIDE, _FIXED_BESIDE)
        x, y = nodes[..., 0], nodes[..., 1]
        area = self._area
        to_border = np.minimum.reduce([x - area.left, area.right - 1 - x, y - area.top, area.bottom - 1 - y])
        weight *= smoothstep(to_border, 0.0, _BORDER * self._height_px)
        neck = self._chin + self._down * (_NECK_BELOW * self._height_px)
        return SwayField(nodes, weight, neck, self._height_px)


class SwayField:
    """The head's motion on a grid of nodes; immutable."""

    def __init__(self, nodes: FloatArray, weight: FloatArray, neck: NDArray[np.float64], height_px: float) -> None:
        """Prepare the field.

        Args:
            nodes: Positions in pixels, (h, w, 2).
            weight: Weight of the motion at the nodes, 0..1, (h, w).
            neck: Pivot of the rotation, pixels, (2,).
            height_px: Height of the face, forehead to chin.
        """
        self._weighted = np.dstack([nodes * weight[..., None], weight])
        self._neck, self._height_px = neck, height_px

    def matrix(self, pose: LifeState) -> FloatArray:
        """2×3 matrix from an output pixel to its displacement: the inverse of the pose, less the identity."""
        cos, sin = np.cos(pose.roll), np.sin(pose.roll)
        rotation = np.array([[cos, sin], [-sin, cos]])
        shift_px = np.array([pose.shift_x, pose.shift_y]) * self._height_px
        move = self._neck - rotation @ (self._neck + shift_px)
        return np.column_stack([rotation - np.eye(2), move]).astype(np.float32)

    def offset(self, matrix: FloatArray) -> FloatArray:
        """Displacement at every node, (h, w, 2), pixels, for a matrix as from :meth:`matrix`."""
        return np.asarray(cv2.transform(self._weighted, matrix), dtype=np.float32)
