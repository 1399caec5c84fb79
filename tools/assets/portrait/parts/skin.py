"""Person and face coordinates (h, w) → reflectance of the skin, linear RGB: flush, lips, nostrils, stubble, pores."""

from __future__ import annotations

import numpy as np

from tools.assets.portrait.geometry import Array, Grid, Profile, bump, smoothstep
from tools.assets.portrait.parts.face import lid_curves, lip_curves, outline_fraction
from tools.assets.portrait.people import Person
from tools.assets.portrait.shading import blur, noise, to_linear
from tools.assets.portrait.strokes import draw_stroke


def _tint(colour: Array, amount: Array, towards: tuple[float, float, float]) -> Array:
    return colour * (1 + amount[..., None] * (np.asarray(towards, np.float32) - 1))


def lip_mask(person: Person, x: Array, y: Array, scale: int, soft: float = 1.1) -> Array:
    """Mask of the lips, 0..1, (h, w).

    Args:
        person: Whose lips.
        x: Face coordinates, (h, w).
        y: Likewise.
        scale: Samples per face unit.
        soft: Width of the edge on either side of the outline, face units.
    """
    curves = lip_curves(person.lips)
    xc = np.clip(x, -curves.half_width, curves.half_width)
    edge = np.minimum(y - curves.upper(xc), curves.lower(xc) - y)
    side = (curves.half_width - np.abs(x)) * 0.6
    return blur(smoothstep(-soft, soft, np.minimum(edge, side + 0.4)), 0.4 * scale)


def skin_colour(person: Person, x: Array, y: Array, scale: int, closure: float) -> Array:
    """Reflectance of the skin, linear RGB (h, w, 3).

    Args:
        person: Whose skin.
        x: Face coordinates, (h, w).
        y: Likewise.
        scale: Samples per face unit.
        closure: Of the eyelids, 0..1.
    """
    ax = np.abs(x)
    rng = np.random.default_rng(person.seed)
    colour = np.broadcast_to(to_linear(person.skin), (*x.shape, 3)).astype(np.float32)
    flush = person.flush * (
        0.75 * bump(ax, y, 98, 72, 36, 26, -14)
        + 0.55 * bump(x, y, 0, 96, 20, 16)
        + 0.3 * bump(x, y, 0, 262, 30, 18)
        + 0.35 * bump(ax, y, person.nose.wing_x + 6, person.nose.wing_y + 4, 12, 14)
    )
    colour = _tint(colour, flush, (1.0, 0.80, 0.78))
    colour = _tint(colour, 0.5 * bump(x, y, 0, -130, 100, 60), (1.01, 1.01, 0.97))
    colour = _tint(colour, 0.6 * bump(ax, y, 66, 22, 30, 9, 12) + 0.5 * bump(ax, y, 38, 2, 10, 14), (0.86, 0.80, 0.86))
    lids = lid_curves(person.eyes, closure)
    shadowed = smoothstep(4, -4, y - lids.lower(ax)) * bump(ax, y, person.eyes.centre_x, -14, 34, 13)
    colour = _tint(colour, 0.55 * shadowed, (0.86, 0.74, 0.72))
    if person.stubble:
        colour = _stubble(person, colour, x, ax, y, scale)
    mottle = noise(x.shape, 26 * scale, rng) * 0.011 + noise(x.shape, 7 * scale, rng) * 0.009
    pores = noise(x.shape, 1.6 * scale, rng) * 0.012
    colour = colour * (1 + (mottle + pores)[..., None] * np.array([0.7, 1.0, 1.1], np.float32))
    if person.freckles:
        spots = smoothstep(1.7, 2.7, noise(x.shape, 3.2 * scale, rng)) * 0.8
        spots += 0.35 * smoothstep(1.8, 2.6, noise(x.shape, 4.6 * scale, rng))
        place = np.maximum(bump(ax, y, 80, 60, 42, 22, -10), 0.8 * bump(x, y, 0, 58, 26, 26))
        colour = _tint(colour, person.freckles * 0.30 * spots * place, (0.72, 0.55, 0.45))
    colour = _brow_shade(person, colour, ax, y)
    return _draw_features(person, colour, x, ax, y, scale)


def _brow_shade(person: Person, colour: Array, ax: Array, y: Array) -> Array:
    """The soft shade below the hairs of the brows."""
    brow = person.brow
    line, start, end = Profile(brow.line)(ax), brow.line[0][0], brow.line[-1][0]
    share = np.clip((ax - start) / (end - start), 0, 1)
    thick = Profile(brow.half_thickness)(share) + 1.0
    within = smoothstep(start - 4, start + 8, ax) * smoothstep(end + 2, end - 12, ax)
    amount = (0.62 * brow.opacity * within * np.exp(-(((y - line) / thick) ** 2)))[..., None]
    return colour * (1 - amount) + to_linear(brow.colour) * amount


def beard_area(person: Person, x: Array, ax: Array, y: Array) -> Array:
    """0..1 where a beard would grow."""
    mouth, base, corner = person.lips.y, person.nose.base_y, person.lips.half_width
    cheek = Profile(((40, mouth - 22), (corner + 4, mouth - 14), (110, mouth - 36), (146, 104), (166, 40), (182, -10)))
    area = smoothstep(-16, 16, y - cheek(ax)) * smoothstep(30, 52, ax + 2.2 * np.clip(y - mouth - 22, 0, None))
    moustache = (
        smoothstep(base + 2, base + 12, y)
        * smoothstep(corner + 14, corner - 24, ax)
        * smoothstep(mouth + 6, mouth - 6, y)
    )
    moustache *= 1 - 0.55 * bump(x, y, 0, base + 14, 6, 16)
    bare = 1 - 0.75 * bump(ax, y, corner + 4, mouth - 4, 9, 9)
    return (np.maximum(area, moustache) * bare).astype(np.float32)


def _stubble(person: Person, colour: Array, x: Array, ax: Array, y: Array, scale: int) -> Array:
    rng = np.random.default_rng(person.seed + 8)
    fine = noise(x.shape, 1.5 * scale, rng)
    amount = person.stubble * beard_area(person, x, ax, y) * (0.22 + 0.05 * np.clip(fine, -1.5, 2.0))
    return colour * (1 - np.clip(amount, 0, 1)[..., None] * np.array([0.86, 0.80, 0.72], np.float32))


def _draw_features(person: Person, colour: Array, x: Array, ax: Array, y: Array, scale: int) -> Array:
    lips = lip_mask(person, x, y, scale)
    curves = lip_curves(person.lips)
    xc = np.clip(x, -curves.half_width, curves.half_width)
    seam = y - curves.seam(xc)
    tone = (
        to_linear(person.lips.colour) * (1 - 0.30 * smoothstep(6, -8, seam) + 0.05 * smoothstep(4, 12, seam))[..., None]
    )
    rng = np.random.default_rng(person.seed + 4)
    grain = np.interp(x + 0.12 * seam * np.sign(x), np.arange(-80, 80, 1.1), rng.normal(0, 1, 146)[:146])
    lines = 1 + 0.030 * grain * smoothstep(0, 9, np.abs(seam))
    colour = colour * (1 - 0.88 * lips[..., None]) + tone * lines[..., None] * 0.88 * lips[..., None]
    width = np.sqrt(np.clip(1 - (x / (curves.half_width + 1.5)) ** 2, 0, 1))
    dark = np.exp(-0.5 * (seam / (0.55 + 0.75 * width)) ** 2) * smoothstep(
        curves.half_width + 2, curves.half_width - 5, np.abs(x)
    )
    colour = colour * (1 - dark[..., None] * np.array([0.72, 0.86, 0.86], np.float32))
    nose = person.nose
    c, s = np.cos(np.radians(-18)), np.sin(np.radians(-18))
    dx, dy = ax - 15.5, y - (nose.base_y - 5.0)
    across = c * dy - s * dx
    hole = np.hypot((c * dx + s * dy) / 8.6, across / np.where(across < 0, 5.2, 3.0))
    dark = smoothstep(1.3, 0.35, hole)
    return colour * (1 - dark[..., None] * np.array([0.74, 0.88, 0.90], np.float32))


def draw_stubble(person: Person, layer: np.ndarray, grid: Grid) -> None:
    """Single short hairs all over the beard's area, combed down and slightly outwards."""
    rng = np.random.default_rng(person.seed + 9)
    spots = rng.uniform((-190, 20), (190, 320), (30000, 2)).astype(np.float32)
    x, y = spots[:, 0], spots[:, 1]
    share, _ = outline_fraction(person, x, y)
    lips = lip_curves(person.lips)
    xc = np.clip(x, -lips.half_width, lips.half_width)
    on_lip = (y > lips.upper(xc) - 2) & (y < lips.lower(xc) + 2) & (np.abs(x) < lips.half_width)
    grows = (rng.uniform(0, 1, len(x)) < 0.9 * beard_area(person, x, np.abs(x), y)) & (share < 0.985) & ~on_lip
    for x0, y0 in spots[grows]:
        size, lean = rng.uniform(1.2, 2.8), 0.006 * x0 + rng.normal(0, 0.35)
        points = np.array([[x0, y0], [x0 + size * np.sin(lean), y0 + size * np.cos(lean)]], np.float32)
        samples = grid.to_samples(person.pose.to_image(points))
        tone = np.array([[70, 50, 40]]) * rng.uniform(0.7, 1.5)
        draw_stroke(layer, samples, np.array([0.14, 0.05]) * grid.scale, tone)
