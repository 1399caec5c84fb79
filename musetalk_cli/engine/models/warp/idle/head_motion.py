"""LifeState and grid nodes (h, w, 2) → displacement field (h, w, 2) in pixels that turns the head in the image.

A face's depth is known from its landmarks: every point of the face mesh has about the same in all faces. A head that
turns or bows shifts each point by its depth in front of the ears, so that the outline hardly moves and the background
behind it stays. Tilting and shifting are rigid on face and hair and fade out towards shoulders and image borders.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.landmarks import Landmarks
from musetalk_cli.engine.avatar.visibility import Area
from musetalk_cli.engine.models.warp.face.geometry import FloatArray, smoothstep
from musetalk_cli.engine.models.warp.face.sampling import Box
from musetalk_cli.engine.models.warp.idle.life import LifeState
from musetalk_cli.engine.models.warp.native.pixels.sampling import sampler

# In face heights (forehead to chin): up to where hair moves rigidly with the face, and from where nothing moves.
_RIGID_ABOVE, _FIXED_ABOVE = 0.22, 0.60  # over the forehead
_RIGID_BESIDE, _FIXED_BESIDE = 0.50, 0.80  # from the middle
_RIGID_BELOW, _FIXED_BELOW = 0.02, 0.55  # under the chin
_NECK_BELOW = 0.15  # the pivot, under the chin
_BORDER = 0.16  # width of the fade at the image's borders
_BROW_LIFT = 0.045  # distances between the outer eye corners

# Depth in front of the ears, distances between the outer eye corners: medians of the mesh over ten faces, made
# symmetric. Lips and lids from a corner to the middle, brows from outside, the oval from the forehead to the chin.
# fmt: off
_OVAL = (
    0.83, 0.81, 0.74, 0.61, 0.47, 0.33, 0.18, 0.04, -0.02, -0.03, -0.02, 0.02, 0.11, 0.22, 0.31, 0.37, 0.45, 0.50, 0.52,
)
# fmt: on
_HALF_DEPTHS = {
    "outer_upper_lip": (0.60, 0.66, 0.71, 0.76, 0.80, 0.81),
    "outer_lower_lip": (0.60, 0.64, 0.68, 0.70, 0.72, 0.73),
    "oval": _OVAL,
}
_LID = (0.59, 0.61, 0.63, 0.66, 0.67, 0.67, 0.66, 0.65, 0.64)
_BROW = (0.58, 0.68, 0.75, 0.82, 0.85)
_NOSE = (0.82, 1.01, 0.83, 0.75, 0.75)
# Around a face, in face heights from its middle and from its forehead's top down: hair, neck and what is behind.
_AROUND = [(u, v) for v in (-0.55, -0.35, 0.0, 0.35, 0.7) for u in (-0.75, 0.75)]
_AROUND += [(u, -0.42) for u in (-0.4, 0.0, 0.4)] + [(u, 1.55) for u in (-0.6, -0.3, 0.0, 0.3, 0.6)]
_NECK = [(-0.2, 1.22), (0.0, 1.22), (0.2, 1.22)]
_NECK_DEPTH = 0.15
_ROWS = 8  # of nodes that are interpolated at once


class HeadMotion:
    """Where the head's motion acts: fully on face and hair, not at all on shoulders and the image's borders.

    ``bounds_px``: left, top, right, bottom of everything that can move.
    """

    def __init__(self, face: Landmarks, area: Area) -> None:
        """``face`` in pixels of an image that shows something within ``area``."""
        top, chin = face.oval[0].astype(np.float64), face.oval[18].astype(np.float64)
        self._face = face
        self._height_px = max(float(np.hypot(*(chin - top))), 4.0)
        self._down = (chin - top) / self._height_px
        self._aside = np.array([-self._down[1], self._down[0]])
        self._top, self._chin, self._area = top, chin, area
        corners = [
            chin + (self._down * v + self._aside * u) * self._height_px
            for v in (-1 - _FIXED_ABOVE, _FIXED_BELOW)
            for u in (-_FIXED_BESIDE, _FIXED_BESIDE)
        ]
        low, high = np.min(corners, axis=0), np.max(corners, axis=0)
        first, last = (area.left, area.top), (area.right, area.bottom)
        self.bounds_px = np.concatenate([np.clip(low, first, last), np.clip(high, first, last)]).astype(np.float32)

    def field_on(self, nodes: FloatArray, mouth: Box) -> HeadField:
        """The field on ``nodes`` (h, w, 2), pixels; ``mouth``: the rows and columns of those around the lips."""
        relative = (nodes - self._chin) / self._height_px
        down, aside = relative @ self._down, np.abs(relative @ self._aside)
        weight = 1 - smoothstep(down, _RIGID_BELOW, _FIXED_BELOW)
        weight *= 1 - smoothstep(-down, 1 + _RIGID_ABOVE, 1 + _FIXED_ABOVE)
        weight *= 1 - smoothstep(aside, _RIGID_BESIDE, _FIXED_BESIDE)
        x, y = nodes[..., 0], nodes[..., 1]
        area = self._area
        to_border = np.minimum.reduce([x - area.left, area.right - 1 - x, y - area.top, area.bottom - 1 - y])
        inside = smoothstep(to_border, 0.0, _BORDER * self._height_px)
        eyes_px = float(np.hypot(*(self._face.right_upper_lid[-1] - self._face.left_upper_lid[0])))
        depth, lift = self._depth_and_lift(nodes)
        neck = self._chin + self._down * (_NECK_BELOW * self._height_px)
        planes = np.dstack([weight, depth * eyes_px, lift * (_BROW_LIFT * eyes_px)]) * inside[..., None]
        return HeadField(nodes, planes.astype(np.float32), (neck, self._down, self._height_px), mouth)

    def _depth_and_lift(self, nodes: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Depth of every node, distances between the eye corners, and its share in raised brows, 0..1."""
        around, neck = ([self._place(u, v) for u, v in places] for places in (_AROUND, _NECK))
        points = np.concatenate([*(getattr(self._face, name) for name in _DEPTHS), neck, around]).astype(np.float32)
        depth = np.concatenate([*_DEPTHS.values(), [_NECK_DEPTH] * len(neck), [0.0] * len(around)])
        lift = np.concatenate([*([float(name.endswith("brow"))] * len(row) for name, row in _DEPTHS.items())])
        lift = np.concatenate([lift, np.zeros(len(neck) + len(around))])
        fields = _interpolate(points, np.stack([depth, lift], axis=1), nodes, 0.05 * self._height_px)
        return fields[..., 0], np.clip(fields[..., 1], 0, 1)

    def _place(self, u: float, v: float) -> NDArray[np.float64]:
        return np.asarray(self._top + (self._down * v + self._aside * u) * self._height_px)


class HeadField:
    """The head's motion on a grid of nodes; immutable."""

    def __init__(
        self,
        nodes: FloatArray,
        planes: FloatArray,
        pivot: tuple[NDArray[np.float64], NDArray[np.float64], float],
        mouth: Box,
    ) -> None:
        """Prepare the field.

        Args:
            nodes: Positions in pixels, (h, w, 2).
            planes: Weight of rigid motion 0..1, depth in pixels, and travel of raised brows in pixels, (h, w, 3).
            pivot: Pivot of the tilt, pixels, (2,); the head's direction downwards, (2,); the face's height, pixels.
            mouth: Rows and columns of the nodes around the lips.
        """
        self._nodes, self._box = nodes, mouth
        self._basis = np.dstack([nodes * planes[..., :1], planes])
        self._planar_basis = np.ascontiguousarray(self._basis.transpose(2, 0, 1))
        self._neck, self._down = ((float(each[0]), float(each[1])) for each in pivot[:2])
        self._height_px = pivot[2]
        near = nodes[mouth].reshape(-1, 2).astype(np.float64)
        self._middle = near.mean(axis=0)
        inverse = np.linalg.pinv(np.column_stack([near - self._middle, np.ones(len(near))]))
        # What is nearest to the nodes around the lips is linear in how they move: it is fitted to each part once. How
        # they move, and not where to: those of a tiny mouth may lie in one row, which says nothing of what is beside.
        self._at_rest = np.vstack([np.eye(2), self._middle])
        self._fit = inverse @ self._basis[mouth].reshape(-1, 5)

    @property
    def basis(self) -> FloatArray:
        """What moves the nodes, float32 (5, h, w): :meth:`matrix_of` times this is added to their positions."""
        return self._planar_basis

    def matrix_of(self, life: LifeState) -> list[float]:
        """How the head moves: (2, 5), row after row."""
        cos, sin = math.cos(life.roll), math.sin(life.roll)
        (neck_x, neck_y), (down_x, down_y) = self._neck, self._down
        from_x, from_y = neck_x + life.shift_x * self._height_px, neck_y + life.shift_y * self._height_px
        sin_yaw, sin_pitch = math.sin(life.yaw), math.sin(life.pitch)
        return [
            *(cos - 1, sin, neck_x - (cos * from_x + sin * from_y)),
            *(-down_y * sin_yaw - down_x * sin_pitch, down_x * life.brows),
            *(-sin, cos - 1, neck_y - (cos * from_y - sin * from_x)),
            *(down_x * sin_yaw - down_y * sin_pitch, down_y * life.brows),
        ]

    def sample_positions(self, life: LifeState) -> FloatArray:
        """Where in the image each node's content comes from, (h, w, 2), pixels."""
        matrix = np.array(self.matrix_of(life), np.float32).reshape(2, 5)
        native = sampler()
        if native is not None:
            return native.move_nodes(self._nodes, self._planar_basis, matrix)
        return np.asarray(self._nodes + cv2.transform(self._basis, matrix), dtype=np.float32)

    def around_mouth(self, matrices: Sequence[list[float]]) -> FloatArray:
        """The 2×3 affine maps that are nearest to the positions around the lips, (n, 2, 3), of heads moved by
        ``matrices``, as from :meth:`matrix_of`."""
        moves = np.array(matrices).reshape(-1, 2, 5).transpose(0, 2, 1)
        fitted = (self._at_rest + self._fit @ moves).transpose(0, 2, 1)
        affine = np.empty((len(matrices), 2, 3), np.float32)
        affine[..., :2], affine[..., 2] = fitted[..., :2], fitted[..., 2] - fitted[..., :2] @ self._middle
        return affine


def _mirrored(half: tuple[float, ...]) -> tuple[float, ...]:
    return half + half[-2::-1]


_DEPTHS: dict[str, tuple[float, ...]] = {
    **{name: _mirrored(half)[: 36 if name == "oval" else None] for name, half in _HALF_DEPTHS.items()},
    "left_upper_lid": _LID,
    "left_lower_lid": _LID,
    "right_upper_lid": _LID[::-1],
    "right_lower_lid": _LID[::-1],
    "left_brow": _BROW,
    "right_brow": _BROW[::-1],
    "nose": _NOSE,
}


def _interpolate(
    points: FloatArray, values: NDArray[np.floating], nodes: FloatArray, soft_px: float
) -> NDArray[np.float32]:
    """Values (n, k) at ``points`` (n, 2), spread smoothly over ``nodes`` (h, w, 2): (h, w, k)."""
    fields = np.empty((*nodes.shape[:2], values.shape[1]), np.float32)
    # Some rows at a time, whose weights stay in the processor's cache: this is much of what opening a portrait takes.
    for top in range(0, len(nodes), _ROWS):
        rows = nodes[top : top + _ROWS]
        fields[top : top + _ROWS] = _weigh(points, values, rows.reshape(-1, 2), soft_px).reshape(*rows.shape[:2], -1)
    cell_px = max(float(np.hypot(*(nodes[0, 1] - nodes[0, 0]))), 1e-3)
    return np.asarray(cv2.GaussianBlur(fields, (0, 0), max(0.6 * soft_px / cell_px, 0.3)), np.float32)


def _weigh(points: FloatArray, values: NDArray[np.floating], at: FloatArray, soft_px: float) -> NDArray[np.floating]:
    """The mean of ``values`` (n, k) for each position in ``at`` (m, 2), nearer points weighing more: (m, k)."""
    weights, down = (np.subtract.outer(at[:, axis], points[:, axis]) for axis in (0, 1))
    np.square(weights, out=weights)
    weights += np.square(down, out=down)
    weights += np.float32(soft_px**2)
    np.divide(1, np.square(weights, out=weights), out=weights)
    mean: NDArray[np.floating] = (weights @ values) / weights.sum(axis=1, keepdims=True)
    return mean
