"""Outfit and face coordinates (h, w) → height, colour and mask of sweater and shirt collar."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tools.assets.portrait.geometry import Array, Profile, smoothstep
from tools.assets.portrait.shading import blur, noise, to_linear


@dataclass(frozen=True)
class Outfit:
    """A fine knit sweater with a ribbed round neck; ``collar`` is the colour of a shirt that shows above it, if any."""

    shoulder: Profile
    neckline: Profile
    colour: tuple[float, float, float]
    collar: tuple[float, float, float] | None = None


def sweater(outfit: Outfit, x: Array, y: Array, scale: int, seed: int) -> tuple[Array, Array, Array]:
    """(height, colour linear RGB, mask) of the sweater.

    Args:
        outfit: Its cut and colour.
        x: Face coordinates, (h, w).
        y: Likewise.
        scale: Samples per face unit.
        seed: Of folds and unevenness.
    """
    rng = np.random.default_rng(seed + 50)
    ax = np.abs(x)
    end = float(outfit.neckline.table_x[-1])
    edge = np.where(ax > end - 2, np.float32(50), y - outfit.neckline(ax))
    top = y - outfit.shoulder(ax) + 11
    mask = np.clip(edge * scale * 0.6 + 0.5, 0, 1) * np.clip((top - 2) * scale * 0.6 + 0.5, 0, 1)
    z = 130 * np.sqrt(np.clip(1 - (ax / 640) ** 2, 0, 1)) + 52 * (1 - np.exp(-np.clip(top, 0, None) / 62))
    z = z + 7.0 * folds(x, y, rng)
    band = smoothstep(26, 22, edge) * smoothstep(-2, 3, edge) * (ax < end + 6)
    rib = np.sin(np.arctan2(x, 520 - y) * 108)
    z = z + band * (5.0 + 0.55 * rib) - 2.2 * np.exp(-0.5 * ((edge - 26) / 2.0) ** 2) * (ax < end + 6)
    row, column = y + 0.00025 * x**2, x / 4.4
    knit = np.abs(np.sin(np.pi * column)) + 0.5 * np.sin(2 * np.pi * (row / 4.6 + np.abs(column % 1 - 0.5)))
    z = z + 0.30 * knit * (1 - band)
    uneven = 1 + 0.03 * noise(x.shape, 3.0 * scale, rng) + 0.03 * noise(x.shape, 30 * scale, rng)
    return blur(z.astype(np.float32), 0.5 * scale), to_linear(outfit.colour) * uneven[..., None], mask


INNER_EDGE = Profile(((0, 502), (14, 493), (46, 460), (82, 424), (106, 390), (118, 354), (124, 318)))


def shirt_collar(outfit: Outfit, x: Array, y: Array, scale: int) -> tuple[Array, Array, Array]:
    """(height, colour linear RGB, mask) of an open shirt collar that rises out of the sweater's neck."""
    ax = np.abs(x)
    inner = y - INNER_EDGE(ax)
    outer = (y - (314 + 1.15 * (ax - 124) + 0.004 * (ax - 124) ** 2)) * 0.62
    depth = np.minimum(np.where(ax > 124, 60, inner) * 0.75, outer)
    mask = np.clip(depth * scale + 0.5, 0, 1)
    z = 40 + 9 * (1 - np.exp(-np.clip(depth, 0, None) / 4.0)) - 0.12 * ax
    leaf = (y - 436) - 1.15 * (ax - 40)
    z = z + 7 * smoothstep(1.5, -1.5, leaf) - 1.2 * np.exp(-0.5 * ((depth - 6) / 0.7) ** 2)
    colour = np.broadcast_to(to_linear(outfit.collar), (*x.shape, 3))
    return blur(z.astype(np.float32), 0.6 * scale), colour.astype(np.float32), mask.astype(np.float32)


def folds(x: Array, y: Array, rng: np.random.Generator) -> Array:
    """A few soft diagonal folds that run from the shoulders towards the chest."""
    z = np.zeros_like(x)
    for side in (-1.0, 1.0):
        for k in range(4):
            start = 150 + 70 * k + rng.uniform(-16, 16)
            slope = rng.uniform(1.0, 1.7)
            line = side * x - (start - (y - 470) / slope * rng.uniform(0.5, 1.0))
            width = rng.uniform(9, 17)
            z += rng.uniform(0.5, 1.0) * np.exp(-0.5 * (line / width) ** 2) * smoothstep(430 + 16 * k, 520, y)
    return z.astype(np.float32)
