"""Meshes and tracks made up for tests: the drawn portraits' landmarks, put where the mesh net would put them."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from musetalk_cli.engine.avatar.landmarks import FloatArray
from musetalk_cli.engine.avatar.mesh import GROUPS, NUM_MESH_POINTS
from musetalk_cli.engine.avatar.plausibility import Trouble
from musetalk_cli.engine.avatar.portrait import describe_portrait
from musetalk_cli.engine.avatar.tracking import FaceTrack

RATE = Fraction(25)


def portrait_mesh(name: str = "nora") -> FloatArray:
    """float32 (468, 3), flat, in pixels of the portrait; points that are in no group lie in the face's middle."""
    landmarks = describe_portrait(name).landmarks
    points = np.tile(np.float32([*landmarks.oval.mean(axis=0), 0]), (NUM_MESH_POINTS, 1))
    for group, indices in GROUPS.items():
        points[list(indices), :2] = getattr(landmarks, group)
    return points


def placed(x: float, y: float, width: float) -> FloatArray:
    """The portrait's mesh with its middle at x, y and so wide, in pixels."""
    points = portrait_mesh()
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    scale = width / (high[0] - low[0])
    points = points * scale
    points[:, :2] += np.float32([x, y]) - (low + high) / 2 * scale
    return points.astype(np.float32)


def turned(points: FloatArray, yaw_deg: float) -> FloatArray:
    """A mesh turned about the vertical, towards the picture's right when positive."""
    angle = np.radians(yaw_deg)
    middle = points[:, :1].mean()
    x = (points[:, :1] - middle) * np.cos(angle) - points[:, 2:] * np.sin(angle)
    z = (points[:, :1] - middle) * np.sin(angle) + points[:, 2:] * np.cos(angle)
    return np.concatenate([x + middle, points[:, 1:2], z], axis=1).astype(np.float32)


def track_of(points: FloatArray, is_found: list[bool] | None = None, cuts: tuple[int, ...] = ()) -> FaceTrack:
    """A track of ``points`` (n, 468, 2); frames without a face lose theirs."""
    count = len(points)
    found = np.array(is_found if is_found is not None else [True] * count)
    points = points.astype(np.float32).copy()
    points[~found] = np.nan
    trouble = tuple(Trouble.NONE if has else Trouble.NO_FACE for has in found)
    is_cut = np.isin(np.arange(count), (0, *cuts))
    ones = np.ones(count, np.float32)
    return FaceTrack(points, found, is_cut, trouble, ones, 0 * ones, 1)
