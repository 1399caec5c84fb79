"""Person and lid closure → the portrait, RGB uint8 (1024, 1024, 3), composited layer by layer.

The layers: background, back hair, neck, clothes, head, eyes, brows, front hair.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from tools.assets.portrait.geometry import IMAGE_PX, Array, Grid, bump
from tools.assets.portrait.parts import body, clothes, ears, eyes, hair, skin
from tools.assets.portrait.parts.clothes import Outfit
from tools.assets.portrait.parts.face import outline_fraction, relief
from tools.assets.portrait.people import Person
from tools.assets.portrait.shading import (
    FILL,
    KEY,
    blur,
    cast_shadow,
    irradiance,
    noise,
    normals,
    occlusion,
    scatter,
    sheen,
    to_linear,
    to_srgb,
)
from tools.assets.portrait.strokes import over
from tools.assets.portrait.styles import STYLES

HEAD = (-262, -310, 524, 660)


@dataclass
class Scene:
    """A portrait's layers at ``scale`` samples per pixel; those that do not blink are drawn once."""

    person: Person
    grid: Grid
    x: Array
    y: Array
    behind: Array
    front_hair: np.ndarray
    hair_shade: Array
    hair_contact: Array


def shade_skin(
    height: Array, mask: Array, colour: Array, lit: Array, gloss: Array, scale: int, depth: float = 1.0
) -> Array:
    """Skin, sRGB 0..1 (h, w, 3): scattered light times colour, plus sheen.

    Args:
        height: Height field in face units, (h, w).
        mask: Where there is skin, 0..1, (h, w).
        colour: Reflectance, linear RGB (h, w, 3).
        lit: Share of the key light that arrives, 0..1, (h, w).
        gloss: Factor of the sheen, (h, w) or a number.
        scale: Samples per face unit.
        depth: Strength of the occlusion.
    """
    normal = normals(blur(height, 0.55 * scale), scale)
    open_ = occlusion(height, mask, scale, depth)
    light = scatter(irradiance(normal, open_, lit), mask, scale)
    shine = 1.7 * sheen(normal, KEY, 16) + 0.8 * sheen(normal, KEY, 55) + 0.25 * sheen(normal, FILL, 20)
    warm = 1 + 0.10 * (1 - np.clip(light.mean(-1, keepdims=True), 0, 1)) * np.array([1, -0.1, -0.5], np.float32)
    return to_srgb(
        colour * light * warm + (gloss * shine * open_ * lit)[..., None] * np.array([1, 0.97, 0.93], np.float32)
    )


def draw_background(person: Person, grid: Grid) -> Array:
    px, py = grid.pixels()
    near, far = (to_linear(c) for c in person.background)
    glow = np.exp(-(((px - 400) / 620) ** 2 + ((py - 400) / 640) ** 2))
    rng = np.random.default_rng(person.seed + 90)
    cloud = noise(px.shape, 170 * grid.scale, rng) * 0.022
    return to_srgb(far + (near - far) * np.clip(glow + cloud, 0, 1)[..., None])


def _blend(image: Array, layer: Array, mask: Array) -> Array:
    return image * (1 - mask[..., None]) + layer * mask[..., None]


def _dress(image: Array, layers: tuple[Array, Array, Array], lit: Array, ground: Array, scale: int) -> Array:
    """A garment over ``image``, with its soft contact shadow on what lies in ``ground``."""
    z, colour, cover = layers
    light = irradiance(normals(z, scale), occlusion(z, np.ones_like(z), scale), lit)
    halo = blur(cover, 5.0 * scale) * (1 - cover)
    shaded = image * (1 - 0.5 * (halo * ground)[..., None])
    return _blend(shaded, to_srgb(colour * light), cover)


def _draw_body(
    image: Array, person: Person, outfit: Outfit, x: Array, y: Array, scale: int, hair_shade: Array
) -> Array:
    rows = slice(int(np.argmax(y[:, y.shape[1] // 2] > 90)), None)
    x, y = x[rows], y[rows]
    t, limit = outline_fraction(person, x, y)
    inside = (t < 1) & (y < 300)
    neck_z = body.neck_relief(person, x, y)
    head_z = np.where(inside, relief(person, x, y, 0.0), neck_z)
    shadow = cast_shadow(np.maximum(head_z, neck_z).astype(np.float32), scale, KEY, 150, 0.5)
    near = (t - 1) * limit
    under_chin = 1 - 0.55 * np.exp(-np.clip(near, 0, None) / 40)
    lit = (0.08 + 0.92 * shadow) * (1 - 0.7 * hair_shade[rows])
    mask = body.neck_mask(person, x, y, scale)
    tone = body.neck_colour(person, x, y, scale) * under_chin[..., None]
    skin_layer = shade_skin(neck_z, mask, tone, lit, np.float32(0.25), scale)
    image[rows] = _blend(image[rows], skin_layer, mask)
    garments = [clothes.shirt_collar] if outfit.collar else []
    lit = (0.4 + 0.6 * shadow) * (1 - 0.75 * hair_shade[rows])
    for layers in (
        *(garment(outfit, x, y, scale) for garment in garments),
        clothes.sweater(outfit, x, y, scale, person.seed),
    ):
        image[rows] = _dress(image[rows], layers, lit, mask, scale)
        mask = np.maximum(mask, layers[2])
    return image


def _head_window(person: Person, grid: Grid, y: Array) -> tuple[slice, slice]:
    left, top, width, height = HEAD
    col, row = int(person.pose.centre_x + left) * grid.scale, int(person.pose.eye_y + top) * grid.scale
    return slice(row, row + height * grid.scale), slice(col, col + width * grid.scale)


def _area_grid(scene: Scene, area: tuple[slice, slice], finer: int = 1) -> Grid:
    scale, (rows, cols) = scene.grid.scale, area
    size = (cols.stop - cols.start) // scale, (rows.stop - rows.start) // scale
    return Grid(scale * finer, cols.start // scale, rows.start // scale, *size)


def _fine_layer(scene: Scene, area: tuple[slice, slice], draw: Callable[[np.ndarray, Grid], None]) -> np.ndarray:
    """A layer of very thin strokes over ``area``: drawn three times finer, then averaged."""
    whole = _area_grid(scene, area, 3)
    window = Grid(whole.scale, whole.left, whole.top + whole.height // 3, whole.width, whole.height // 3)
    layer = np.zeros((*window.shape, 4), np.uint8)
    draw(layer, window)
    small = cv2.resize(layer, None, fx=1 / 3, fy=1 / 3, interpolation=cv2.INTER_AREA)
    full = np.zeros((area[0].stop - area[0].start, small.shape[1], 4), np.uint8)
    full[(window.top - whole.top) * scene.grid.scale :][: small.shape[0]] = small
    return full


def draw_head(scene: Scene, image: Array, closure: float) -> Array:
    """Face, eyes, lashes and brows over ``image`` (sRGB 0..1)."""
    person, scale = scene.person, scene.grid.scale
    area = _head_window(person, scene.grid, scene.y)
    x, y = scene.x[area], scene.y[area]
    t, limit = outline_fraction(person, x, y)
    mask = np.clip((1 - t) * limit * scale + 0.5, 0, 1).astype(np.float32)
    height = relief(person, x, y, closure)
    lit = cast_shadow(np.where(mask > 0.5, height, 0).astype(np.float32), scale, KEY)
    lit = (0.36 + 0.64 * lit) * (1 - 0.62 * scene.hair_shade[area])
    lips = skin.lip_mask(person, x, y, scale)
    gloss = 0.55 + 0.5 * bump(x, y, 0, 92, 14, 22) + 0.25 * bump(x, y, 0, -110, 70, 40) + 1.7 * lips
    colour = skin.skin_colour(person, x, y, scale, closure)
    colour = colour * (1 - scene.hair_contact[area][..., None] * np.array([0.42, 0.52, 0.56], np.float32))
    face = shade_skin(height, mask, colour, lit, gloss.astype(np.float32), scale)
    line = eyes.lid_line(person, x, y, scale, closure)[..., None]
    face = eyes.draw_eyeballs(person, face, x, y, scale, closure)
    face = face * (1 - line) + line * np.array([0.13, 0.085, 0.07], np.float32)
    image[area] = _blend(image[area], face, mask)
    if person.stubble:
        hairs = np.zeros((*mask.shape, 4), np.uint8)
        skin.draw_stubble(person, hairs, _area_grid(scene, area))
        image[area] = over(image[area], hairs, 0.40 * person.stubble)
    image[area] = over(
        image[area],
        _fine_layer(scene, area, lambda layer, grid: eyes.draw_brows(person, layer, grid)),
        person.brow.opacity,
    )
    lashes = _fine_layer(scene, area, lambda layer, grid: eyes.draw_lashes(person, layer, grid, closure))
    image[area] = over(image[area], lashes, 0.9)
    return image


def build(person: Person, scale: int) -> Scene:
    """Draws every layer that does not depend on the lids."""
    grid = Grid(scale)
    x, y = person.pose.to_face(*grid.pixels())
    style = STYLES[person.name]
    tone = hair.HairTone(person.hair_dark, person.hair_mid, person.hair_light)
    rng = np.random.default_rng(person.seed + 70)
    image = draw_background(person, grid)
    back = np.zeros((*grid.shape, 4), np.uint8)
    if style.back:
        hair.fill_cap(back, style.back_ground, tone, person.pose, grid)
    for sheet in style.back:
        hair.draw_sheet(back, sheet, tone, person.pose, grid, rng)
    image = over(image, back)
    front = np.zeros((*grid.shape, 4), np.uint8)
    hair.fill_cap(front, style.front_ground, tone, person.pose, grid)
    for sheet in style.front:
        hair.draw_sheet(front, sheet, tone, person.pose, grid, rng)
    cover = front[..., 3].astype(np.float32) / 255
    moved = np.array([[1, 0, 6 * scale], [0, 1, 8 * scale]], np.float32)
    shade = blur(cv2.warpAffine(cover, moved, cover.shape[::-1]), 8 * scale)
    image = _draw_body(image, person, style.outfit, x, y, scale, shade)
    if person.ears:
        mask, z, colour = ears.ear_layers(person, grid, x, y)
        lit = 1 - 0.6 * shade
        image = _blend(image, shade_skin(z, mask, colour, lit, np.float32(0.4), scale), mask)
    return Scene(person, grid, x, y, image, front, shade, blur(cover, 3.0 * scale))


def finish(scene: Scene, closure: float = 0.0) -> np.ndarray:
    """The whole image at a lid closure, RGB uint8 (1024, 1024, 3)."""
    image = draw_head(scene, scene.behind.copy(), closure)
    image = over(image, scene.front_hair)
    small = cv2.resize(image, (IMAGE_PX, IMAGE_PX), interpolation=cv2.INTER_AREA)
    rng = np.random.default_rng(scene.person.seed + 99)
    dither = rng.uniform(-0.4, 0.4, small.shape[:2]).astype(np.float32)[..., None]
    return np.clip(np.round(small * 255 + dither), 0, 255).astype(np.uint8)
