"""Face units ↔ image pixels, and the curves and grids that faces are drawn with.

Everything is designed in *face units*: one unit is one pixel of the 1024-pixel image, the origin lies midway between
the eyes, x to the right, y down, z towards the viewer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

IMAGE_PX = 1024


def catmull_rom(points: object, num: int, closed: bool = False) -> Array:
    """``num`` points on the uniform Catmull-Rom curve through ``points``, float32 (num, dims)."""
    p = np.asarray(points, dtype=np.float32)
    p = np.vstack([p[-1], p, p[0], p[1]]) if closed else np.vstack([2 * p[0] - p[1], p, 2 * p[-1] - p[-2]])
    num_spans = len(p) - 3
    u = np.linspace(0, num_spans, num, endpoint=not closed)
    i = np.minimum(u.astype(int), num_spans - 1)
    f = (u - i)[:, None]
    a, b, c, d = p[i], p[i + 1], p[i + 2], p[i + 3]
    curve = 0.5 * (2 * b + (c - a) * f + (2 * a - 5 * b + 4 * c - d) * f**2 + (3 * b - a - 3 * c + d) * f**3)
    return curve.astype(np.float32)


class Profile:
    """A natural cubic spline y(x) through (x, y) pairs, constant beyond its ends, read from a fine table."""

    def __init__(self, pairs: object) -> None:
        x, y = np.asarray(pairs, dtype=np.float64).T
        h = np.diff(x)
        n = len(x)
        system, right = np.eye(n), np.zeros(n)
        for i in range(1, n - 1):
            system[i, i - 1 : i + 2] = h[i - 1], 2 * (h[i - 1] + h[i]), h[i]
            right[i] = 6 * ((y[i + 1] - y[i]) / h[i] - (y[i] - y[i - 1]) / h[i - 1])
        m = np.linalg.solve(system, right)
        self.table_x = np.linspace(x[0], x[-1], 2001)
        i = np.clip(np.searchsorted(x, self.table_x, side="right") - 1, 0, n - 2)
        a, b = (x[i + 1] - self.table_x) / h[i], (self.table_x - x[i]) / h[i]
        bend = ((a**3 - a) * m[i] + (b**3 - b) * m[i + 1]) * h[i] ** 2 / 6
        self.table_y = a * y[i] + b * y[i + 1] + bend

    def __call__(self, x: object) -> Array:
        return np.interp(np.asarray(x), self.table_x, self.table_y).astype(np.float32)


def bump(x: Array, y: Array, cx: float, cy: float, sx: float, sy: float, turn_deg: float = 0.0) -> Array:
    """A Gaussian hill of height 1.

    Args:
        x: Coordinates at which it is evaluated, any shape.
        y: Likewise.
        cx: Centre.
        cy: Centre.
        sx: Standard deviation along its first axis.
        sy: Standard deviation along its second axis.
        turn_deg: Rotation of the axes, clockwise in the image.
    """
    dx, dy = x - np.float32(cx), y - np.float32(cy)
    if turn_deg:
        c, s = np.float32(np.cos(np.radians(turn_deg))), np.float32(np.sin(np.radians(turn_deg)))
        dx, dy = c * dx + s * dy, c * dy - s * dx
    return np.exp(-0.5 * ((dx / np.float32(sx)) ** 2 + (dy / np.float32(sy)) ** 2))


def smoothstep(low: float, high: float, value: Array) -> Array:
    """0 below ``low``, 1 above ``high``, smooth between; also falling when ``low`` > ``high``."""
    t = np.clip((value - np.float32(low)) / np.float32(high - low), 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)


@dataclass(frozen=True)
class Pose:
    """From the symmetric design to the image: position, a slight rotation, and smooth irregularities.

    ``wander``: amplitudes of the four irregularities, face units. Every real face is slightly asymmetric.
    """

    centre_x: float
    eye_y: float
    roll_deg: float = 0.0
    wander: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)

    def _shift(self, x: Array, y: Array) -> tuple[Array, Array]:
        a, b, c, d = self.wander
        dx = a * np.sin(y / 130.0 + 0.6) + b * np.cos(x / 120.0) * np.sin(y / 210.0)
        dy = c * np.sin(x / 95.0) + d * np.sin(x / 60.0 + 0.4) * np.exp(-((y / 90.0) ** 2))
        return dx, dy

    def to_image(self, points: Array) -> Array:
        """Face units (n, 2) → image pixels (n, 2), pixel centres at integers."""
        x, y = points[:, 0], points[:, 1]
        dx, dy = self._shift(x, y)
        x, y = x + dx, y + dy
        c, s = np.cos(np.radians(self.roll_deg)), np.sin(np.radians(self.roll_deg))
        return np.stack([self.centre_x + c * x - s * y, self.eye_y + s * x + c * y], 1).astype(np.float32)

    def to_face(self, px: Array, py: Array) -> tuple[Array, Array]:
        """Image pixels → face units: the inverse of :meth:`to_image`, by fixed-point steps."""
        c, s = np.float32(np.cos(np.radians(self.roll_deg))), np.float32(np.sin(np.radians(self.roll_deg)))
        ux, uy = px - np.float32(self.centre_x), py - np.float32(self.eye_y)
        ux, uy = c * ux + s * uy, c * uy - s * ux
        x, y = ux, uy
        for _ in range(4):
            dx, dy = self._shift(x, y)
            x, y = ux - dx, uy - dy
        return x.astype(np.float32), y.astype(np.float32)


@dataclass(frozen=True)
class Grid:
    """A window of the image, sampled ``scale`` times finer than its pixels."""

    scale: int
    left: int = 0
    top: int = 0
    width: int = IMAGE_PX
    height: int = IMAGE_PX

    def pixels(self) -> tuple[Array, Array]:
        """Image coordinates of every sample, two float32 (height × scale, width × scale)."""
        x = (np.arange(self.width * self.scale, dtype=np.float32) + 0.5) / self.scale - 0.5 + self.left
        y = (np.arange(self.height * self.scale, dtype=np.float32) + 0.5) / self.scale - 0.5 + self.top
        return np.meshgrid(x, y)

    def to_samples(self, points: Array) -> Array:
        """Image coordinates (n, 2) → sample coordinates, sample centres at integers."""
        origin = np.array([self.left, self.top], dtype=np.float32)
        return (points - origin + 0.5) * self.scale - 0.5

    @property
    def shape(self) -> tuple[int, int]:
        return self.height * self.scale, self.width * self.scale
