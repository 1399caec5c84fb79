"""Person and grid → mask, height and colour of the ears, for people whose hair does not hide them."""

from __future__ import annotations

import cv2
import numpy as np

from tools.assets.portrait.geometry import Array, Grid, bump, catmull_rom
from tools.assets.portrait.people import Person
from tools.assets.portrait.shading import blur, to_linear

OUTLINE = (
    (168, -14),
    (174, -38),
    (187, -52),
    (203, -50),
    (213, -32),
    (214, -6),
    (208, 20),
    (200, 40),
    (194, 58),
    (183, 68),
    (172, 62),
    (166, 40),
)


def ear_layers(person: Person, grid: Grid, x: Array, y: Array) -> tuple[Array, Array, Array]:
    """(mask, height, colour linear RGB) of both ears; the head covers their inner parts."""
    mask = np.zeros(grid.shape, np.uint8)
    outline = catmull_rom(OUTLINE, 120, closed=True)
    for side in (-1, 1):
        lean = outline * np.array([side, 1], np.float32)
        samples = grid.to_samples(person.pose.to_image(lean))
        cv2.fillPoly(mask, [np.round(samples * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    inwards = cv2.distanceTransform((mask > 127).astype(np.uint8), cv2.DIST_L2, 5) / grid.scale
    ax = np.abs(x)
    z = 14 * (1 - np.exp(-inwards / 3.0)) + 7.5 * np.exp(-(((inwards - 5.0) / 3.0) ** 2)) * (y < 42)
    z -= 8.0 * np.exp(-(((inwards - 11.5) / 2.6) ** 2)) * (y < 36)
    z += 5.0 * np.exp(-(((inwards - 17) / 3.5) ** 2)) * (y < 34)
    z -= 15 * bump(ax, y, 180, 10, 8, 15, 12)
    z += 6 * bump(ax, y, 171, 12, 5, 8) + 5 * bump(ax, y, 183, 54, 8, 9)
    z -= 0.25 * (ax - 168)
    colour = to_linear(person.skin) * np.array([1.0, 0.84, 0.80], np.float32)
    deep = 0.45 * bump(ax, y, 180, 10, 7, 13, 12)[..., None]
    colour = colour * (1 - deep * np.array([0.7, 1, 1], np.float32))
    return mask.astype(np.float32) / 255, blur(z.astype(np.float32), 0.9 * grid.scale), colour.astype(np.float32)
