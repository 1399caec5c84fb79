"""Sheet of guide curves → strands of hair drawn into an RGBA layer, gathered into locks and shaded along their length.

A sheet is a fan of guide curves (x, y, z) from root to tip. Strands are sampled between the guides, pulled towards
their tress and its finer locks, waved, and shaded point by point after Kajiya and Kay (a highlight where the strand's
tangent is square to the half vector between light and eye).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from tools.assets.portrait.geometry import Array, Grid, Pose, catmull_rom, smoothstep
from tools.assets.portrait.people import Colour
from tools.assets.portrait.shading import FILL, KEY, RIM, Light, to_linear, to_srgb
from tools.assets.portrait.strokes import draw_stroke

NUM_POINTS = 73
HEAD_MIDDLE = np.array([0, -40, -60], np.float32)
Guide = tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class Sheet:
    """Guides root → tip. Lengths in face units; ``shade`` < 1 darkens sheets that lie behind or under others.

    ``segment`` > 0 makes short hair: each strand is only that share of its guide, begun anywhere along it. ``relief``
    is how strongly tresses stand out by light and shade, ``root_shade`` how much darker hair is at its root;
    ``thin_edge`` < 1 thins out the first guide's side.
    """

    guides: tuple[Guide, ...]
    num_strands: int
    num_tresses: int
    locks_per_tress: int = 4
    clump: float = 0.48
    wave: float = 7.0
    wave_turns: float = 1.8
    wave_from: float = 0.25
    width: float = 1.0
    shade: float = 1.0
    stray: float = 0.55
    root_fade: float = 0.03
    length_spread: float = 0.16
    flyaways: int = 0
    root_spread: float = 0.0
    num_pieces: int = 62
    gloss: float = 1.0
    under_width: float = 2.0
    segment: float = 0.0
    root_shade: float = 0.45
    relief: float = 1.0
    thin_edge: float = 1.0


@dataclass(frozen=True)
class HairTone:
    dark: Colour
    mid: Colour
    light: Colour


@dataclass(frozen=True)
class Strands:
    """``points`` and ``normals`` (n, NUM_POINTS, 3); ``depth`` (n,) 0 deep … 1 top; ``hollow`` (n, NUM_POINTS) 0 on a
    tress's back … 1 between tresses; ``tress`` and ``lock`` (n,) numbers."""

    points: Array
    normals: Array
    depth: Array
    hollow: Array
    tress: Array
    lock: Array


def _unit(v: Array) -> Array:
    return v / (np.linalg.norm(v, axis=-1, keepdims=True) + 1e-6)


def _surface(sheet: Sheet, num_across: int = 65) -> Array:
    lines = np.stack([catmull_rom(guide, NUM_POINTS) for guide in sheet.guides])
    return catmull_rom(lines.reshape(len(lines), -1), num_across).reshape(num_across, NUM_POINTS, 3)


def _interpolate(table: Array, t: Array) -> Array:
    """The surface (n, NUM_POINTS, 3) at ``t`` (n, NUM_POINTS) across, 0..1, point by point along."""
    u = np.clip(t, 0, 1) * (len(table) - 1)
    i = np.minimum(u.astype(int), len(table) - 2)
    f = (u - i)[..., None]
    k = np.arange(NUM_POINTS)[None, :]
    return table[i, k] * (1 - f) + table[i + 1, k] * f


def _cells(num: int, rng: np.random.Generator) -> Array:
    inner = (np.arange(1, num) + rng.uniform(-0.3, 0.3, max(num - 1, 0))) / num
    return np.concatenate([[0.0], inner, [1.0]])


def _pull(t: Array, edges: Array) -> tuple[Array, Array, Array]:
    """(cell of every t, its middle, place within it −1..1)."""
    cell = np.clip(np.searchsorted(edges, t) - 1, 0, len(edges) - 2)
    middle, half = (edges[cell] + edges[cell + 1]) / 2, (edges[cell + 1] - edges[cell]) / 2
    return cell, middle, (t - middle) / half


def _grow(sheet: Sheet, num: int, rng: np.random.Generator, looseness: float = 1.0, inset: float = 0.0) -> Strands:
    table = _surface(sheet)
    t = rng.uniform(inset, 1 - inset, num) ** sheet.thin_edge
    s = np.linspace(0, 1, NUM_POINTS)[None, :]
    num_locks = sheet.num_tresses * sheet.locks_per_tress
    tress, tress_mid, in_tress = _pull(t, _cells(sheet.num_tresses, rng))
    lock, lock_mid, in_lock = _pull(t, _cells(num_locks, rng))
    gather = sheet.clump * smoothstep(0.05, 1.0, s) * rng.uniform(0.6, 1.1, num)[:, None]
    across = t[:, None] + gather * 0.45 * (lock_mid - t)[:, None] + gather * s * 0.55 * (tress_mid - t)[:, None]
    points = _interpolate(table, across)
    side = _interpolate(_unit(np.gradient(table, axis=0)), across)
    normal = np.cross(_unit(np.gradient(points, axis=1)), side)
    outwards = np.sum(normal * (points - HEAD_MIDDLE), -1, keepdims=True)
    normal = _unit(normal * np.sign(outwards))
    phase = rng.uniform(0, 1.7, sheet.num_tresses)[tress] + rng.normal(0, 0.28, num_locks)[lock]
    phase = phase[:, None] + rng.normal(0, 0.16, num)[:, None] - 2 * np.pi * sheet.wave_turns * s**1.15
    rise = rng.uniform(0.7, 1.15, sheet.num_tresses)[tress][:, None] * sheet.wave
    rise = rise * smoothstep(sheet.wave_from, sheet.wave_from + 0.5, s)
    drift = np.cumsum(rng.normal(0, 1, (num, NUM_POINTS)), axis=1) / np.sqrt(NUM_POINTS)
    drift = (drift - drift[:, :1]) * sheet.stray * looseness * (s if looseness == 1 else np.sqrt(s))
    points = points + side * (rise * np.sin(phase) + drift)[..., None]
    points = points + normal * (rise * 0.8 * np.cos(phase))[..., None]
    round_ = sheet.relief * (0.75 * in_tress + 0.30 * in_lock)[:, None] * (0.15 + 0.85 * smoothstep(0.1, 0.5, s))
    normal = _unit(normal + side * (round_ + 0.25 * np.sin(phase) * rise / (sheet.wave + 1e-3))[..., None])
    raised = rng.uniform(0, 1, sheet.num_tresses)[tress]
    depth = 0.25 * rng.uniform(0, 1, num) + 0.55 * raised + 0.20 * (1 - in_tress**2)
    hollow = np.clip(np.abs(in_tress) - 0.25, 0, 1)[:, None] * smoothstep(0.06, 0.45, s)
    hollow = hollow + 0.14 * rng.uniform(0, 1, num)[:, None] ** 2
    back = _unit(points[:, :1] - points[:, 2:3])
    points[:, 0] += (back * rng.uniform(0, 5, (num, 1, 1)))[:, 0]
    return Strands(points.astype(np.float32), normal.astype(np.float32), depth, hollow, tress, lock)


def _glint(tangent: Array, light: Light, power: float, shift: Array) -> Array:
    half = light.unit + np.array([0, 0, 1], np.float32)
    half /= np.linalg.norm(half)
    return np.clip(1 - (tangent @ half + shift) ** 2, 0, 1) ** (power / 2)


def _colours(sheet: Sheet, tone: HairTone, strands: Strands, rng: np.random.Generator) -> Array:
    """sRGB 0..255 along every strand, (n, NUM_POINTS, 3)."""
    n = len(strands.points)
    tangent = _unit(np.gradient(strands.points, axis=1))
    s = np.linspace(0, 1, NUM_POINTS)[None, :]
    dark, mid, light = (to_linear(c) for c in (tone.dark, tone.mid, tone.light))
    by_lock = rng.normal(0, 1, sheet.num_tresses * sheet.locks_per_tress)[strands.lock]
    by_tress = rng.normal(0, 1, sheet.num_tresses)[strands.tress]
    mix = 0.46 + 0.05 * by_lock + 0.06 * by_tress + rng.normal(0, 0.045, n)
    towards_tip = (0.29 * smoothstep(0.0, 1.0, s) - 0.17) * (0.3 + 1.55 * sheet.root_shade)
    mix = np.clip(mix[:, None] + towards_tip, 0, 1.1)[..., None]
    base = np.where(mix < 0.55, dark + (mid - dark) * mix / 0.55, mid + (light - mid) * (mix - 0.55) / 0.55)
    key = np.clip((strands.normals @ KEY.unit + 0.30) / 1.30, 0, 1)
    fill = np.clip((strands.normals @ FILL.unit + 0.35) / 1.35, 0, 1)
    jitter = (rng.normal(0, 0.05, n) + 0.04 * by_lock)[:, None]
    glint = _glint(tangent, KEY, 60, jitter + 0.06) * key**1.4
    soft = _glint(tangent, KEY, 14, jitter - 0.10) * key
    edge = _glint(tangent, RIM, 14, jitter) * np.clip(strands.normals @ RIM.unit, 0, 1)
    grown = smoothstep(0.0, 0.19, s)
    root = sheet.root_shade * (1 - grown)
    lit = (0.17 + 0.52 * key + 0.20 * fill + 1.5 * soft * (1 - 2 * root).clip(0, 1)) * (1 - root)
    gloss = to_linear((0.96, 0.83, 0.69))
    colour = base * lit[..., None] + (sheet.gloss * (0.23 * glint * grown + 0.22 * edge))[..., None] * gloss
    shadow = (1 - 0.62 * sheet.relief * strands.hollow) * (0.72 + 0.28 * strands.depth[:, None])
    return to_srgb(colour * (shadow * sheet.shade)[..., None]) * 255


def _draw(
    layer: np.ndarray,
    sheet: Sheet,
    strands: Strands,
    colours: Array,
    half_width: Array,
    pose: Pose,
    grid: Grid,
    rng: np.random.Generator,
    longest: float = 1.0,
) -> None:
    num, num_locks = len(strands.points), sheet.num_tresses * sheet.locks_per_tress
    shorter = 0.45 * rng.uniform(0, 1, num_locks)[strands.lock] + 0.55 * rng.uniform(0, 1, num)
    length = longest * (1 - sheet.length_spread * shorter)
    s = np.linspace(0, 1, NUM_POINTS)
    body = (0.35 + 0.65 * smoothstep(0, sheet.root_fade + 1e-3, s)) * smoothstep(1.0, 0.66, s) + 0.05
    for i in np.argsort(strands.depth):
        begin, end = sheet.root_spread * rng.uniform(), length[i]
        if sheet.segment:
            begin = rng.beta(1.0, 1.7) * (1 - sheet.segment)
            end = begin + sheet.segment * rng.uniform(0.6, 1.0)
        flat = _cut(strands.points[i, :, :2], begin, end)
        width = half_width[i] * sheet.width * grid.scale * body
        samples = grid.to_samples(pose.to_image(flat))
        draw_stroke(layer, samples, width, _cut(colours[i], begin, end), sheet.num_pieces, rng.uniform())


def _cut(values: Array, begin: float, end: float) -> Array:
    """``values`` (NUM_POINTS, k) from share ``begin`` to ``end`` of the way, resampled to NUM_POINTS."""
    u = np.linspace(begin * (NUM_POINTS - 1), end * (NUM_POINTS - 1), NUM_POINTS)
    i = np.minimum(u.astype(int), NUM_POINTS - 2)
    f = (u - i)[:, None].astype(np.float32)
    return values[i] * (1 - f) + values[i + 1] * f


def fill_cap(layer: np.ndarray, outline: object, tone: HairTone, pose: Pose, grid: Grid) -> None:
    """Fill the dark base below the strands.

    Args:
        layer: uint8 (h, w, 4), changed in place.
        outline: Points of its outline, face units, (n, 2).
        tone: Colours of the hair.
        pose: From face units to the image.
        grid: Samples of the layer.
    """
    points = grid.to_samples(pose.to_image(catmull_rom(outline, 160, closed=True)))
    cv2.fillPoly(layer, [np.round(points).astype(np.int32)], (*(c * 255 for c in tone.dark), 255.0), cv2.LINE_AA)


def draw_sheet(
    layer: np.ndarray, sheet: Sheet, tone: HairTone, pose: Pose, grid: Grid, rng: np.random.Generator
) -> None:
    """Draw a sheet: a broad dark underlayer if any, then strands, deep ones first.

    Args:
        layer: uint8 (h, w, 4), RGB premultiplied by alpha; changed in place.
        sheet: Guides and style of the strands.
        tone: Colours of the hair.
        pose: From face units to the image.
        grid: Samples of the layer.
        rng: Source of all variation.
    """
    if sheet.under_width:
        under = _grow(sheet, sheet.num_strands // 8, rng, inset=0.03)
        shade = _colours(sheet, tone, under, rng) * 0.55
        _draw(layer, sheet, under, shade, np.full(len(shade), sheet.under_width), pose, grid, rng, longest=0.92)
    strands = _grow(sheet, sheet.num_strands, rng)
    colours = _colours(sheet, tone, strands, rng)
    _draw(layer, sheet, strands, colours, rng.uniform(0.25, 0.60, len(colours)), pose, grid, rng)
    if sheet.flyaways:
        loose = _grow(sheet, sheet.flyaways, rng, looseness=7.0)
        _draw(layer, sheet, loose, _colours(sheet, tone, loose, rng), np.full(sheet.flyaways, 0.22), pose, grid, rng)
