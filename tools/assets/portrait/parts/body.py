"""Person and face coordinates (h, w) → mask, height and colour of neck and upper chest."""

from __future__ import annotations

import numpy as np

from tools.assets.portrait.geometry import Array, Profile, bump, smoothstep
from tools.assets.portrait.people import Person
from tools.assets.portrait.shading import noise, to_linear

# Farther out than this, clothes cover the shoulders.
HIDDEN_FROM_X = 230.0


def neck_mask(person: Person, x: Array, y: Array, scale: int) -> Array:
    half = Profile(person.neck)(y)
    shown = (y > person.neck[0][0]) & (np.abs(x) < HIDDEN_FROM_X)
    return np.clip((half - np.abs(x)) * scale * 0.7 + 0.5, 0, 1) * shown


def neck_relief(person: Person, x: Array, y: Array) -> Array:
    """Height of neck and upper chest, face units; well behind the chin."""
    half = Profile(person.neck)(y)
    ax = np.abs(x)
    z = -100 + 112 * np.sqrt(np.clip(1 - (ax / (half + 3)) ** 2.4, 0.0004, 1))
    cord = np.interp(y, [290, 425], [82, 16])
    z += 3.6 * np.exp(-0.5 * ((ax - cord) / 11) ** 2) * smoothstep(270, 330, y) * smoothstep(445, 415, y)
    z -= 4.5 * bump(x, y, 0, 430, 15, 14)
    z += 4.0 * np.exp(-0.5 * ((y - (440 - 0.10 * ax)) / 11) ** 2) * smoothstep(14, 40, ax) * smoothstep(200, 120, ax)
    return z.astype(np.float32)


def neck_colour(person: Person, x: Array, y: Array, scale: int) -> Array:
    rng = np.random.default_rng(person.seed + 3)
    colour = to_linear(person.skin) * np.array([0.97, 0.95, 0.94], np.float32)
    mottle = noise(x.shape, 40 * scale, rng) * 0.015
    return (colour * (1 + mottle[..., None])).astype(np.float32)
