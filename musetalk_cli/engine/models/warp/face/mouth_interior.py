"""The inside of the mouth: cavity, tongue and teeth, painted between the displaced lips.

Upper teeth belong to the skull and stay; lower teeth and tongue ride on the jaw. Everything is drawn once per face into
small textures and only placed, shaded and clipped per frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.models.warp.face.geometry import FloatArray, smoothstep
from musetalk_cli.engine.models.warp.face.light import FaceLight
from musetalk_cli.engine.types.colour import ByteArray, Planes, bgr_to_ycbcr

# Visible widths of the upper teeth from the middle outwards, mouth units: incisors, canine, premolars on the turn of
# the arch (8.5, 6.5, 7.5 and 7 mm on a mouth 50 mm wide, foreshortened).
_UPPER_WIDTHS = (0.155, 0.115, 0.095, 0.065, 0.05, 0.04)
_LOWER_WIDTHS = (0.095, 0.095, 0.09, 0.07, 0.055, 0.05)
_UPPER_LENGTHS = (0.0, -0.014, -0.004, -0.018, -0.024, -0.03)  # of the edge, against the arch
_LOWER_LENGTHS = (0.0, 0.002, -0.004, 0.008, 0.014, 0.02)
_TEXTURE_SPAN = (-0.56, 0.56, -0.22, 0.22)  # x and y range of a row of teeth, mouth units
_UPPER_EDGE = 0.030  # of the middle incisors, below the closed seam
_SMILE_SHOWS = 0.75  # a lip that smiles bares the teeth: their edge is about where the smile's lower lip is
_MOST_UPPER_EDGE = 0.085
_LOWER_EDGE = 0.028
_TEETH_TRAVEL = 0.195  # of lower teeth and tongue at J = 1

_ARCH_DEPTH = 1.1  # of the dental arch, mouth units per square of the distance from its middle
_LEAST_YAW = 0.02  # tangent

_GUM = (92, 88, 150)  # BGR colours in good light; the face's own light scales them
_DEEP = (24, 19, 44)
_CAVITY = (50, 44, 96)
_TONGUE = (84, 80, 150)


@dataclass(frozen=True)
class Setting:
    """How the teeth stand in an image.

    ``middle``: x and y of the closed seam's middle, and ``smile``: how far below it the image's own lower lip hangs,
    in mouth units. ``yaw``: the tangent of the angle by which the head is turned to the image's right.
    """

    middle: tuple[float, float]
    smile: float
    yaw: float


@dataclass(frozen=True)
class Opening:
    """The gap between the lips in one frame, for a box of pixels.

    ``cover`` (h, w): 0..1, how much of the pixel lies between the lips. ``below_upper``, ``above_lower`` (h, w):
    distances to the two lips in mouth units. ``to_units``: 2×3 affine, the box's pixels to the skull's mouth units.
    """

    cover: FloatArray
    below_upper: FloatArray
    above_lower: FloatArray
    to_units: FloatArray


class Interior:
    """Paints one face's mouth interior; immutable."""

    def __init__(self, unit_px: float, face_light: FaceLight) -> None:
        """``unit_px``: width of the mouth."""
        self._scale = float(np.clip(unit_px * 1.25, 24, 400))
        light = float(np.clip((face_light.skin_luma - 16) / 140, 0.35, 1.05))
        self._tooth = face_light.tooth
        self._gum, self._tongue = _lit(_GUM, light), _lit(_TONGUE, light * 0.9)
        self._deep, self._cavity = _lit(_DEEP, 0.5 + 0.5 * light), _lit(_CAVITY, light)
        self._upper = self._draw_teeth(is_upper=True)
        self._lower = self._draw_teeth(is_upper=False)

    def paint(self, planes: Planes, opening: Opening, setting: Setting, jaw: float, width: float) -> None:
        """Paint over ``planes`` (in place; same box as ``opening``). ``jaw`` 0..1, ``width`` -1..1."""
        rows, columns = _support(opening.cover)
        if rows.stop <= rows.start or columns.stop <= columns.start:
            return
        inside = (rows, columns)
        matrix = opening.to_units.copy()
        matrix[:, 2] += matrix[:, :2] @ np.array([columns.start, rows.start], dtype=np.float32)
        x, y = _positions(matrix, opening.cover[inside].shape, setting.middle)
        place = _Place(_unturned(x, setting.yaw), y, opening.below_upper[inside], opening.above_lower[inside])
        edge = float(np.clip(_SMILE_SHOWS * setting.smile, _UPPER_EDGE, _MOST_UPPER_EDGE))
        colour = self._compose(place, edge, jaw, width)
        cover = opening.cover[inside]
        _blend(planes.luma[inside], colour[..., 0], cover)
        half = (cover.shape[1] // 2, cover.shape[0] // 2)
        weighted = cv2.resize(colour[..., 1:] * cover[..., None], half, interpolation=cv2.INTER_AREA)
        cover_half = cv2.resize(cover, half, interpolation=cv2.INTER_AREA)
        chroma = planes.chroma[rows.start // 2 : rows.stop // 2, columns.start // 2 : columns.stop // 2]
        np.copyto(chroma, np.clip(chroma * (1 - cover_half[..., None]) + weighted + 0.5, 0, 255).astype(np.uint8))

    def _compose(self, place: _Place, edge: float, jaw: float, width: float) -> FloatArray:
        """Colour (h, w, 3) as Y, Cb, Cr of the whole interior, before it is clipped by the lips.

        ``edge``: of the upper incisors, below the closed seam.
        """
        x, y = place.x, place.y
        across = (x - np.float32(_TEXTURE_SPAN[0])) * np.float32(self._scale) - np.float32(0.5)
        rounding, spread = max(-width, 0.0), max(width, 0.0)
        # The first tenth of the jaw's way parts the lips alone: "s" keeps its teeth together.
        travel = _TEETH_TRAVEL * max(jaw - 0.1, 0.0) / 0.9 * (1 - 0.35 * spread)
        colour = self._deep + (self._cavity - self._deep) * smoothstep(y, 0.0, 0.22 + travel)[..., None]
        self._add_tongue(colour, x, y - 0.05 - 0.38 * travel)
        colour = self._lay(colour, self._lower, across, y - (_LOWER_EDGE + travel), 0.9 * (1 - 0.9 * rounding))
        # Protruded lips come down over the upper teeth and keep the light out.
        colour = self._lay(colour, self._upper, across, y - (edge + 0.010 * spread - 0.035 * rounding), 1.0)
        shade = (0.34 + 0.66 * smoothstep(place.below_upper, -0.01, 0.055)) * (1 - 0.45 * rounding)
        # Little light falls in between lips that are hardly apart.
        shade *= 0.7 + 0.3 * smoothstep(place.below_upper + place.above_lower, 0.0, 0.15)
        shade *= 0.72 + 0.28 * smoothstep(place.above_lower, -0.005, 0.035)
        shade *= 1 - 0.45 * smoothstep(np.abs(x), 0.22, 0.47)
        colour[..., 0] = 16 + (colour[..., 0] - 16) * shade
        colour[..., 1:] = 128 + (colour[..., 1:] - 128) * (0.5 + 0.5 * shade[..., None])
        colour[..., 2] += 7 * (1 - shade)  # what light there is has come through lips and cheeks
        return np.asarray(colour, dtype=np.float32)

    def _add_tongue(self, colour: FloatArray, x: FloatArray, below_tip: FloatArray) -> None:
        """A soft mound with a furrow, over ``colour`` in place; ``below_tip``: distance below its highest point."""
        inward = below_tip - 0.8 * x**2
        cover = smoothstep(inward, 0.0, 0.10) * smoothstep(0.38 - np.abs(x), 0.0, 0.16)
        light = 0.45 + 0.55 * smoothstep(inward, 0.03, 0.17)
        light *= 1 - 0.14 * np.exp(-((x / 0.035) ** 2)) * smoothstep(inward, 0.04, 0.12)
        luma = 16 + (self._tongue[0] - 16) * light
        colour[..., 0] += (luma - colour[..., 0]) * cover
        colour[..., 1:] += (self._tongue[1:] - colour[..., 1:]) * cover[..., None]

    def _lay(
        self, colour: FloatArray, texture: ByteArray, across: FloatArray, below_edge: FloatArray, strength: float
    ) -> FloatArray:
        """Lay a row of teeth over the colours.

        ``across`` (h, w): the texture's column of every pixel; ``below_edge`` (h, w): how far it lies under the middle
        tooth's edge, mouth units.
        """
        down = (below_edge - np.float32(_TEXTURE_SPAN[2])) * np.float32(self._scale) - np.float32(0.5)
        placed = np.asarray(cv2.remap(texture, across, down, cv2.INTER_LINEAR), dtype=np.float32)
        cover = placed[..., 3:] * (strength / 255)
        return np.asarray(colour + (placed[..., :3] - colour) * cover, dtype=np.float32)

    def _draw_teeth(self, is_upper: bool) -> ByteArray:
        """One row of teeth as Y, Cb, Cr, cover; y points away from the gum for both (lower teeth are turned over)."""
        left, right, top, bottom = _TEXTURE_SPAN
        x = (np.arange(round((right - left) * self._scale)) + 0.5) / self._scale + left
        y = (np.arange(round((bottom - top) * self._scale)) + 0.5) / self._scale + top
        widths = np.array(_UPPER_WIDTHS if is_upper else _LOWER_WIDTHS)
        lengths = np.array(_UPPER_LENGTHS if is_upper else _LOWER_LENGTHS)
        bounds = np.concatenate([[0], np.cumsum(widths)])
        which = np.clip(np.searchsorted(bounds, np.abs(x), side="right") - 1, 0, len(widths) - 1)
        across = (np.abs(x) - bounds[which]) / widths[which] * 2 - 1
        arch = 0.28 if is_upper else 0.12
        rounding = np.where(which < 2, 0.010, 0.016) * np.abs(across) ** 3
        sign = 1.0 if is_upper else -1.0
        edge = (lengths[which] if is_upper else -lengths[which]) - arch * x**2 - rounding
        inward = edge[None, :] - sign * y[:, None]  # distance from the biting edge into the tooth
        soft = 0.012
        cover = smoothstep(inward, -soft / 2, soft / 2) * smoothstep(bounds[-1] - np.abs(x), 0.0, 0.06)[None, :]
        bulge = 1 - 0.10 * across**2
        groove = 1 - 0.26 * smoothstep(np.abs(across), 1 - 0.018 / widths[which], 1.0)
        body = 0.90 + 0.10 * smoothstep(inward, 0.0, 0.025)
        far = 1 - 0.30 * smoothstep(np.abs(x), 0.12, 0.5)
        light = body * (bulge * groove * far)[None, :] * (1.0 if is_upper else 0.86)
        gum = smoothstep(inward - 0.012 * (1 - across[None, :] ** 2), 0.115, 0.135)[..., None]
        colour = np.empty((len(y), len(x), 3))
        colour[..., 0] = 16 + (self._tooth[0] - 16) * light
        colour[..., 1:] = self._tooth[1:] + (1 - light[..., None]) * np.array([-4.0, 4.0])
        colour += (self._gum - colour) * gum
        return np.clip(np.dstack([colour, cover * 255]) + 0.5, 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class _Place:
    """Where the pixels of a box (h, w) lie: ``x`` on the dental arch from its middle, ``y`` below the closed seam, and
    the distances to the lips, all in mouth units."""

    x: FloatArray
    y: FloatArray
    below_upper: FloatArray
    above_lower: FloatArray


def _unturned(x: FloatArray, yaw: float) -> FloatArray:
    """Where on the dental arch, seen from the front, lies what a head turned by ``yaw`` (tangent) shows at x.

    The arch is a parabola of depth ``_ARCH_DEPTH`` x². The axes shrink with the turn as the mouth does, so x stays as
    it is in the middle, and is x - depth · tan(yaw) further out.
    """
    if abs(yaw) < _LEAST_YAW:
        return x
    slant = np.float32(_ARCH_DEPTH * yaw)
    return np.asarray(2 * x / (1 + np.sqrt(np.maximum(1 - 4 * slant * x, np.float32(0.05)))), dtype=np.float32)


def _lit(bgr: tuple[int, int, int], light: float) -> NDArray[np.float32]:
    return bgr_to_ycbcr(np.array(bgr) * light)


def _positions(
    to_units: FloatArray, shape: tuple[int, ...], origin: tuple[float, float]
) -> tuple[FloatArray, FloatArray]:
    """x and y in mouth units from ``origin``, for every pixel of a box (h, w)."""
    columns, rows = np.arange(shape[1], dtype=np.float32), np.arange(shape[0], dtype=np.float32)[:, None]
    x, y = (to_units[k, 0] * columns + to_units[k, 1] * rows + (to_units[k, 2] - origin[k]) for k in (0, 1))
    return x.astype(np.float32), y.astype(np.float32)


def _support(cover: FloatArray) -> tuple[slice, slice]:
    """Smallest even-aligned rectangle that holds everything covered."""
    rows, columns = np.flatnonzero(cover.max(axis=1) > 0.002), np.flatnonzero(cover.max(axis=0) > 0.002)
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    return (
        slice(int(rows[0]) // 2 * 2, min((int(rows[-1]) + 2) // 2 * 2, cover.shape[0])),
        slice(int(columns[0]) // 2 * 2, min((int(columns[-1]) + 2) // 2 * 2, cover.shape[1])),
    )


def _blend(target: ByteArray, colour: FloatArray, cover: FloatArray) -> None:
    np.copyto(target, np.clip(target + (colour - target) * cover + 0.5, 0, 255).astype(np.uint8))
