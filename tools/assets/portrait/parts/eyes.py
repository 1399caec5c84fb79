"""Person and lid closure → eyeballs, lashes and brows, drawn into the image."""

from __future__ import annotations

import numpy as np

from tools.assets.portrait.geometry import Array, Grid, Profile, catmull_rom, smoothstep
from tools.assets.portrait.parts.face import LidCurves, lid_curves
from tools.assets.portrait.people import Eyes, Person
from tools.assets.portrait.shading import blur, to_linear, to_srgb
from tools.assets.portrait.strokes import draw_stroke

BALL_RADIUS = 37.0


def opening(lids: LidCurves, ax: Array, y: Array, scale: int) -> Array:
    """0..1 where the eyeball shows between the lids."""
    x = np.clip(ax, lids.inner_x, lids.outer_x)
    edge = np.minimum(y - lids.upper(x), lids.lower(x) - y)
    side = np.minimum(ax - lids.inner_x, lids.outer_x - ax)
    return np.clip(np.minimum(edge, side) * scale + 0.5, 0, 1) * (side > 0)


def _iris(eyes: Eyes, dx: Array, dy: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """(colour linear RGB, coverage) of iris and pupil around (0, 0)."""
    radius = np.hypot(dx, dy) / eyes.iris_radius
    angle = np.arctan2(dy, dx)
    fibres = np.zeros_like(radius)
    for count in (9, 17, 29, 43, 67, 91):
        bend = rng.uniform(-0.8, 0.8)
        bent = angle + 0.10 * bend * np.sin(6 * radius)
        fibres += np.cos(count * bent + rng.uniform(0, 6.28)) * rng.uniform(0.5, 1)
    fibres = fibres / 3 * smoothstep(0.3, 0.5, radius) * smoothstep(1.0, 0.8, radius)
    mid, core, rim = to_linear(eyes.iris_mid), to_linear(eyes.iris_core), to_linear(eyes.iris_rim)
    warm = smoothstep(0.68, 0.40, radius + 0.05 * fibres)[..., None]
    colour = mid * (1 - warm) + core * warm
    colour = colour * (1 + 0.28 * fibres)[..., None]
    limbus = smoothstep(0.74, 0.98, radius)[..., None]
    colour = colour * (1 - 0.85 * limbus) + rim * 0.85 * limbus
    glow = 0.62 + 0.62 * smoothstep(-0.7, 0.9, (0.45 * dx + 0.9 * dy) / eyes.iris_radius)
    colour = colour * glow[..., None]
    pupil = smoothstep(0.40, 0.35, radius)[..., None]
    colour = colour * (1 - pupil) + 0.006 * pupil
    return colour, smoothstep(1.05, 0.93, radius)


def _catchlights(dx: Array, dy: Array) -> Array:
    window = np.maximum(np.abs(dx + 5.4 + 0.12 * dy) / 2.7, np.abs(dy + 5.6) / 3.1)
    main = smoothstep(1.25, 0.75, window)
    faint = 0.16 * smoothstep(1.3, 0.4, np.hypot((dx - 6.5) / 4.2, (dy - 6.5) / 2.6))
    return 0.95 * main + faint


def draw_eyeballs(person: Person, image: Array, x: Array, y: Array, scale: int, closure: float) -> Array:
    """Draw both eyeballs where the lids leave them open, and return ``image``.

    Args:
        person: Whose eyes.
        image: sRGB 0..1 (h, w, 3), changed in place.
        x: Face coordinates, (h, w).
        y: Likewise.
        scale: Samples per face unit.
        closure: Of the eyelids, 0..1.
    """
    lids = lid_curves(person.eyes, closure)
    for side in (-1.0, 1.0):
        ax = x * side
        rows, cols = _eye_window(person.eyes, ax, y)
        area = (rows, cols)
        mask = opening(lids, ax[area], y[area], scale)
        ball = _eyeball(person, lids, ax[area], y[area], side, closure)
        image[area] = image[area] * (1 - mask[..., None]) + to_srgb(ball) * mask[..., None]
    return image


def _eye_window(eyes: Eyes, ax: Array, y: Array) -> tuple[slice, slice]:
    inside = (np.abs(ax - eyes.centre_x) < 56) & (np.abs(y) < 32)
    rows, cols = np.where(inside.any(1))[0], np.where(inside.any(0))[0]
    return slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1)


def _eyeball(person: Person, lids: LidCurves, ax: Array, y: Array, side: float, closure: float) -> Array:
    eyes = person.eyes
    rng = np.random.default_rng(person.seed + 5)
    dx, dy = ax - np.float32(eyes.centre_x), y - np.float32(eyes.iris_y)
    depth = np.sqrt(np.clip(1 - (dx**2 + dy**2) / BALL_RADIUS**2, 0.02, 1))
    towards_key = -0.42 * side * dx / BALL_RADIUS - 0.42 * dy / BALL_RADIUS + 0.62 * depth
    light = 0.40 + 0.52 * np.clip(towards_key + 0.2, 0, None)
    colour = to_linear((0.93, 0.895, 0.87)) * light[..., None]
    corner = smoothstep(20, 3, ax - lids.inner_x) + 0.55 * smoothstep(16, 2, lids.outer_x - ax)
    colour = colour * (1 - corner[..., None] * np.array([0.16, 0.33, 0.32], np.float32))
    iris, cover = _iris(eyes, dx * side, dy, rng)
    cover = cover[..., None]
    colour = colour * (1 - cover) + iris * cover * (0.55 + 0.55 * light[..., None])
    colour = _caruncle(colour, lids, ax, y)
    x = np.clip(ax, lids.inner_x, lids.outer_x)
    under_lid, over_lid = y - lids.upper(x), lids.lower(x) - y
    shade = 1 - 0.66 * np.exp(-np.clip(under_lid, 0, None) / 5.0) - 0.16 * np.exp(-np.clip(over_lid, 0, None) / 2.2)
    colour = colour * shade[..., None]
    rim = smoothstep(2.6, 0.8, over_lid)[..., None] * 0.75
    colour = colour * (1 - rim) + to_linear((0.80, 0.58, 0.53)) * 0.8 * rim
    glint = _catchlights(dx * side, dy)[..., None] * (1 - 0.7 * smoothstep(3.0, 0.5, under_lid))[..., None]
    wet = 0.35 * np.exp(-0.5 * ((over_lid - 2.2) / 0.8) ** 2) * np.exp(-0.5 * ((dx * side + 8) / 9) ** 2)
    return colour + (glint + wet[..., None] * (1 - closure)) * np.array([0.97, 0.98, 1.0], np.float32)


def _caruncle(colour: Array, lids: LidCurves, ax: Array, y: Array) -> Array:
    mid = (lids.upper(np.float32(lids.inner_x + 5)) + lids.lower(np.float32(lids.inner_x + 5))) / 2
    blob = smoothstep(1.25, 0.5, np.hypot((ax - lids.inner_x - 3.2) / 5.4, (y - mid) / 4.6))[..., None]
    return colour * (1 - blob) + to_linear((0.84, 0.57, 0.53)) * 0.72 * blob


def lid_line(person: Person, x: Array, y: Array, scale: int, closure: float) -> Array:
    """Darkness 0..1 of the lash roots along the upper lid, and faintly along the lower one, (h, w).

    Args:
        person: Whose lids.
        x: Face coordinates, (h, w).
        y: Likewise.
        scale: Samples per face unit.
        closure: Of the eyelids, 0..1.
    """
    lids = lid_curves(person.eyes, closure)
    ax = np.abs(x)
    inside = smoothstep(lids.inner_x - 1, lids.inner_x + 16, ax) * smoothstep(lids.outer_x + 3.5, lids.outer_x - 2, ax)
    share = np.clip((ax - lids.inner_x) / (lids.outer_x - lids.inner_x), 0, 1)
    xc = np.clip(ax, lids.inner_x, lids.outer_x)
    upper = y - lids.upper(xc) + 0.4
    thick = (0.9 + 1.0 * share * smoothstep(1.04, 0.86, share)) * (0.7 + 0.5 * person.eyes.liner)
    line = inside * np.exp(-0.5 * (upper / thick) ** 2) * (0.66 + 0.2 * person.eyes.liner)
    lower = y - lids.lower(xc) - 0.6
    low = 0.22 * (1 - closure) * inside * smoothstep(0.25, 0.8, share) * np.exp(-0.5 * (lower / 1.0) ** 2)
    return blur(np.clip(line + low, 0, 1), 0.3 * scale)


def draw_lashes(person: Person, layer: np.ndarray, grid: Grid, closure: float) -> None:
    """Lashes of both eyes as strokes; they swing down as the lid closes."""
    lids = lid_curves(person.eyes, closure)
    for side in (-1.0, 1.0):
        rng = np.random.default_rng(person.seed + (21 if side > 0 else 22))
        for share in np.sort(rng.uniform(0.08, 1.0, 120)):
            _lash(person, layer, grid, lids, side, float(share), rng, closure, upper=True)
        for share in np.sort(rng.uniform(0.30, 0.97, 34)):
            _lash(person, layer, grid, lids, side, float(share), rng, closure, upper=False)


def _lash(
    person: Person,
    layer: np.ndarray,
    grid: Grid,
    lids: LidCurves,
    side: float,
    share: float,
    rng: np.random.Generator,
    closure: float,
    upper: bool,
) -> None:
    x0 = lids.inner_x + share * (lids.outer_x - lids.inner_x)
    y0 = float((lids.upper if upper else lids.lower)(np.float32(x0))) + (0.0 if upper else 0.8)
    size = person.eyes.lash_length * (0.40 + 0.60 * share**1.3) * rng.uniform(0.55, 1.1) * (1 if upper else 0.36)
    cluster = np.round(share * 17) / 17
    lean = np.radians(-30 + 104 * share + 190 * (cluster - share) + rng.normal(0, 7))
    lift = (-0.62 + 1.20 * closure) if upper else 0.75
    dip = 0.24 * (1 - 0.3 * closure) if upper else 0.0
    out = np.sin(lean)
    mid = (x0 + 0.52 * size * out, y0 + size * (0.36 * lift + dip))
    tip = (x0 + size * out * 0.92, y0 + size * (lift - 0.1))
    points = catmull_rom([(x0, y0), mid, tip], 9) * np.array([side, 1], np.float32)
    samples = grid.to_samples(person.pose.to_image(points))
    width = np.linspace(0.34 if upper else 0.16, 0.03, 9).astype(np.float32) * grid.scale
    tone = rng.uniform(0.75, 1.25)
    colour = np.array([[44, 30, 24]]) * tone if upper else np.array([[158, 116, 98]]) * tone
    draw_stroke(layer, samples, width, colour)


def draw_brows(person: Person, layer: np.ndarray, grid: Grid) -> None:
    """Both brows, hair by hair: upright at the inner end, combed outwards along the arch."""
    brow = person.brow
    line = catmull_rom(brow.line, 200)
    thickness = Profile(brow.half_thickness)
    for side in (-1.0, 1.0):
        rng = np.random.default_rng(person.seed + (31 if side > 0 else 32))
        for _ in range(brow.num_strokes):
            _brow_hair(person, layer, grid, line, thickness, side, rng)


def _brow_hair(
    person: Person,
    layer: np.ndarray,
    grid: Grid,
    line: Array,
    thickness: Profile,
    side: float,
    rng: np.random.Generator,
) -> None:
    brow = person.brow
    share, across = float(rng.uniform(0, 1) ** 0.9), float(np.clip(rng.normal(0.1, 0.5), -1, 1))
    i = min(int(share * 199), 198)
    along = line[i + 1] - line[i]
    along = along / np.linalg.norm(along)
    normal = np.array([along[1], -along[0]])
    start = line[i] - normal * float(thickness(share)) * across * 0.8
    steep = float(np.interp(share, [0, 0.10, 0.30, 0.6, 1], [66, 46, 24, 12, 2]))
    tilt = np.radians(steep + 14 * across + rng.normal(0, 5))
    way = np.cos(tilt) * along + np.sin(tilt) * normal
    size = rng.uniform(8, 13) * (1 - 0.3 * share) * (0.85 + 0.25 * across)
    bend = along * size * 0.14
    points = catmull_rom([start, start + way * size * 0.5 - bend * 0.2, start + way * size + bend], 7)
    samples = grid.to_samples(person.pose.to_image(points * np.array([side, 1], np.float32)))
    width = np.linspace(0.36, 0.03, 7).astype(np.float32) * grid.scale
    tone = rng.uniform(0.75, 1.2) * (1.12 - 0.16 * across) + 0.35 * max(0.12 - share, 0) / 0.12
    draw_stroke(layer, samples, width, (np.asarray(brow.colour) * 255 * tone).clip(0, 255)[None])
