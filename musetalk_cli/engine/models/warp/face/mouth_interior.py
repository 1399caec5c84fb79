"""Gap between the lips (h, w), jaw, width and tongue → cavity, tongue and teeth, drawn into a frame's Y'CbCr planes.

Upper teeth belong to the skull and stay; lower teeth and tongue move with the jaw, and the tongue's tip on its own. The
teeth are drawn once per face into textures, which are placed, shaded and clipped per frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.models.warp.face.geometry import FloatArray, share_between, smoothstep
from musetalk_cli.engine.models.warp.face.lighting import FaceLighting
from musetalk_cli.engine.native import library
from musetalk_cli.engine.types.colour import ByteArray, Planes, bgr_to_ycbcr

if TYPE_CHECKING:
    from musetalk_cli.engine.models.warp.native.interior import NativeInterior

# Visible widths of the upper teeth from the middle outwards, mouth units: incisors, canine, premolars where the arch
# turns back (8.5, 6.5, 7.5 and 7 mm on a mouth 50 mm wide, foreshortened).
_UPPER_WIDTHS = (0.155, 0.115, 0.095, 0.065, 0.05, 0.04)
_LOWER_WIDTHS = (0.095, 0.095, 0.09, 0.07, 0.055, 0.05)
_UPPER_LENGTHS = (0.0, -0.014, -0.004, -0.018, -0.024, -0.03)  # offset of the edge from the arch
_LOWER_LENGTHS = (0.0, 0.002, -0.004, 0.008, 0.014, 0.02)
_TEXTURE_SPAN = (-0.56, 0.56, -0.22, 0.22)  # x and y range of a row of teeth, mouth units
# Of the middle incisors' edge below the closed seam: its share of ``smile``, which bares the teeth about down to the
# lower lip; and its least and most, mouth units.
UPPER_EDGE = (0.75, 0.030, 0.085)
_LOWER_EDGE = 0.028
_TEETH_TRAVEL = 0.165  # travel of lower teeth and tongue at J = 1

# T from and to which the tip rises behind the upper teeth, and from and to which it comes out between the teeth.
_TIP_RISES, _TIP_COMES_OUT = (0.15, 0.6), (0.7, 0.95)
_TIP_BEHIND = 0.016  # how far above their edge it ends, mouth units

_ARCH_DEPTH = 1.1  # depth of the dental arch, mouth units per squared distance from its middle
_MIN_YAW = 0.02  # tangent of the yaw below which a head counts as frontal

_GUM = (92, 88, 150)  # BGR colours in good light; the face's lighting scales them
_DEEP = (24, 19, 44)
_CAVITY = (54, 48, 104)
_TONGUE = (106, 100, 178)


@dataclass(frozen=True)
class TeethPlacement:
    """Where the teeth are in an image.

    ``middle``: x and y of the middle of the closed lips' seam, mouth units. ``smile``: how far below it the image's own
    lower lip is, mouth units. ``yaw``: tangent of the angle by which the head is turned to the image's right.
    """

    middle: tuple[float, float]
    smile: float
    yaw: float

    @cached_property
    def upper_edge(self) -> float:
        """Distance of the upper incisors' edge below the closed seam, mouth units."""
        share, least, most = UPPER_EDGE
        return float(np.clip(share * self.smile, least, most))


@dataclass(frozen=True)
class Articulation:
    """What moves inside a mouth: J (0..1), W (-1..1) and T (0..1) of the mouth shape."""

    jaw: float
    width: float
    tongue: float = 0.0

    @classmethod
    def of(cls, shape: FloatArray) -> Articulation:
        """That of a mouth shape O, J, W, P, F, T, float32 (6,)."""
        return cls(float(shape[1]), float(shape[2]), float(shape[5]))

    @property
    def tip_rise(self) -> float:
        """How far the tongue's tip is on its way to the upper teeth, 0..1."""
        return share_between(self.tongue, *_TIP_RISES)

    @property
    def tip_out(self) -> float:
        """How far it has come out between the teeth, 0..1."""
        return share_between(self.tongue, *_TIP_COMES_OUT)


@dataclass(frozen=True)
class LipOpening:
    """The gap between the lips in one frame, for a box of pixels; float32 (h, w), if not said otherwise.

    ``coverage``: share of the pixel that lies between the lips, 0..1. ``below_upper``, ``above_lower``: distances to
    the two lips, mouth units. ``to_units``: 2×3 affine matrix from the box's pixels to the skull's mouth units.
    """

    coverage: FloatArray
    below_upper: FloatArray
    above_lower: FloatArray
    to_units: FloatArray


class MouthInterior:
    """Draws the inside of one face's mouth; immutable.

    ``native``: the same in C; None where there is no library.
    """

    native: NativeInterior | None

    def __init__(self, unit_px: float, lighting: FaceLighting) -> None:
        """``unit_px``: width of the mouth, pixels."""
        self._scale = float(np.clip(unit_px * 1.25, 24, 400))
        light = float(np.clip((lighting.skin_luma - 16) / 140, 0.35, 1.05))
        self._tooth, self._tint = lighting.tooth, lighting.tint
        self._gum, self._tongue = _scaled_colour(_GUM, light), _scaled_colour(_TONGUE, light * 0.9)
        self._deep, self._cavity = _scaled_colour(_DEEP, 0.5 + 0.5 * light), _scaled_colour(_CAVITY, light)
        # The deviation of a uniform ramp is its width ÷ √12; a pixel's own width is the narrowest.
        self.edge_px = float(np.sqrt(1 + 12 * lighting.blur_px**2))
        blur = lighting.blur_px / unit_px * self._scale
        self._upper, self._lower = (_blurred(self._draw_teeth(is_upper=is_upper), blur) for is_upper in (True, False))
        self.native = self._native_interior()

    def _native_interior(self) -> NativeInterior | None:
        native = library.load()
        if native is None:
            return None
        # It imports ctypes.
        from musetalk_cli.engine.models.warp.native.interior import InteriorColours, InteriorTint, NativeInterior

        colours, tint = InteriorColours(self._deep, self._cavity, self._tongue), self._tint
        tinted = None
        if tint is not None:
            tinted = InteriorTint(tint.levels, tint.colours, tint.naturalness, tint.cast, tint.skin_luma)
        return NativeInterior(native, (self._upper, self._lower), self._scale, colours, tinted)

    def draw(self, planes: Planes, opening: LipOpening, placement: TeethPlacement, pose: Articulation) -> None:
        """Draw the interior into ``planes``, in place.

        Args:
            planes: The box of pixels that ``opening`` describes.
            opening: The gap between the lips.
            placement: Where the teeth are in the image.
            pose: What moves inside the mouth.
        """
        rows, columns = _bounding_box(opening.coverage)
        if rows.stop <= rows.start or columns.stop <= columns.start:
            return
        inside = (rows, columns)
        matrix = opening.to_units.copy()
        matrix[:, 2] += matrix[:, :2] @ np.array([columns.start, rows.start], dtype=np.float32)
        x, y = _pixel_positions(matrix, opening.coverage[inside].shape, placement.middle)
        positions = _PixelPositions(
            _to_dental_arch(x, placement.yaw), y, opening.below_upper[inside], opening.above_lower[inside]
        )
        colour = self._compose(positions, placement.upper_edge, pose)
        coverage = opening.coverage[inside]
        _blend(planes.luma[inside], colour[..., 0], coverage)
        half = (coverage.shape[1] // 2, coverage.shape[0] // 2)
        weighted = cv2.resize(colour[..., 1:] * coverage[..., None], half, interpolation=cv2.INTER_AREA)
        coverage_half = cv2.resize(coverage, half, interpolation=cv2.INTER_AREA)
        chroma = planes.chroma[rows.start // 2 : rows.stop // 2, columns.start // 2 : columns.stop // 2]
        np.copyto(chroma, np.clip(chroma * (1 - coverage_half[..., None]) + weighted + 0.5, 0, 255).astype(np.uint8))

    def native_pose(self, placement: TeethPlacement, to_units: FloatArray, pose: Articulation) -> list[float]:
        """What moves it in one frame, as C takes it; arguments as of :meth:`draw`."""
        from musetalk_cli.engine.models.warp.native.interior import InteriorPose, pose_of

        moves = (pose.jaw, pose.width, pose.tip_rise, pose.tip_out)
        return pose_of(InteriorPose(to_units, placement.middle, placement.yaw, placement.upper_edge, *moves))

    def _compose(self, positions: _PixelPositions, edge: float, pose: Articulation) -> FloatArray:
        """Y, Cb, Cr (h, w, 3) of the interior, before the lips clip it.

        ``edge``: distance of the upper incisors' edge below the closed seam, mouth units.
        """
        x, y = positions.x, positions.y
        across = (x - np.float32(_TEXTURE_SPAN[0])) * np.float32(self._scale) - np.float32(0.5)
        rounding, spread = max(-pose.width, 0.0), max(pose.width, 0.0)
        # The first tenth of the jaw's travel parts only the lips: /s/ keeps the teeth together.
        travel = _TEETH_TRAVEL * max(pose.jaw - 0.1, 0.0) / 0.9 * (1 - 0.35 * spread)
        colour = self._deep + (self._cavity - self._deep) * smoothstep(y, 0.0, 0.22 + travel)[..., None]
        self._add_tongue(colour, x, y - 0.05 - 0.26 * travel)
        below_lower, below_upper = y - (_LOWER_EDGE + travel), y - (edge + 0.010 * spread - 0.035 * rounding)
        shown: float | FloatArray = 0.9 * (1 - 0.9 * rounding)
        if pose.tip_rise > 0:
            shown = shown * (1 - self._add_tip(colour, x, below_upper, below_lower, pose))
        colour = self._composite_teeth(colour, self._lower, across, below_lower, shown)
        # Protruded lips cover the upper teeth and keep the light out.
        colour = self._composite_teeth(colour, self._upper, across, below_upper, 1.0)
        shade = (0.34 + 0.66 * smoothstep(positions.below_upper, -0.01, 0.055)) * (1 - 0.45 * rounding)
        # Little light enters between lips that are hardly apart.
        shade *= 0.7 + 0.3 * smoothstep(positions.below_upper + positions.above_lower, 0.0, 0.15)
        shade *= 0.72 + 0.28 * smoothstep(positions.above_lower, -0.005, 0.035)
        shade *= 1 - 0.45 * smoothstep(np.abs(x), 0.22, 0.47)
        colour[..., 0] = 16 + (colour[..., 0] - 16) * shade
        colour[..., 1:] = 128 + (colour[..., 1:] - 128) * (0.5 + 0.5 * shade[..., None])
        colour[..., 2] += 7 * (1 - shade)  # light in shadow has passed through lips and cheeks, and is redder
        if self._tint is not None:
            self._tint.apply(colour)
        return np.asarray(colour, dtype=np.float32)

    def _add_tongue(self, colour: FloatArray, x: FloatArray, below_tip: FloatArray) -> None:
        """Draw a soft mound with a furrow over ``colour``, in place; ``below_tip``: distance below its top."""
        inward = below_tip - 0.8 * x**2
        coverage = smoothstep(inward, 0.0, 0.06) * smoothstep(0.40 - np.abs(x), 0.0, 0.18)
        # It is lit from the front: its back, which is higher in the image, lies in the dark.
        light = 0.5 + 0.5 * smoothstep(inward, 0.0, 0.09)
        light *= 1 - 0.14 * np.exp(-((x / 0.035) ** 2)) * smoothstep(inward, 0.04, 0.12)
        luma = 16 + (self._tongue[0] - 16) * light
        colour[..., 0] += (luma - colour[..., 0]) * coverage
        colour[..., 1:] += (self._tongue[1:] - colour[..., 1:]) * coverage[..., None]

    def _add_tip(
        self, colour: FloatArray, x: FloatArray, below_upper: FloatArray, below_lower: FloatArray, pose: Articulation
    ) -> FloatArray:
        """Draw the tongue's raised tip over ``colour``, in place.

        Args:
            colour: Y, Cb, Cr, float32 (h, w, 3).
            x: Position along the dental arch, (h, w), mouth units.
            below_upper: Distance below the edge of the middle upper teeth, (h, w), mouth units.
            below_lower: The same of the lower teeth.
            pose: What moves inside the mouth, its tip raised.

        Returns:
            How much of the lower teeth it covers, 0..1, float32 (h, w).
        """
        rise, out = np.float32(pose.tip_rise), np.float32(pose.tip_out)
        aside = np.abs(x)
        # It rises from behind the lower teeth to behind the upper ones, and out to just below their edge.
        low, high = below_lower - np.float32(0.02), below_upper + np.float32(_TIP_BEHIND) * (1 - np.float32(0.5) * out)
        inward = low + (high - low) * rise - (np.float32(1.7) - np.float32(0.7) * out) * x**2
        sides = smoothstep(np.float32(0.26) + np.float32(0.05) * out - aside, 0.0, 0.10)
        coverage = smoothstep(inward, 0.0, 0.03) * sides * smoothstep(rise, 0.0, 0.3)
        # Its underside turns away from the light; what has come out is lit.
        deep = np.float32(0.42) * (1 - out) * smoothstep(inward, 0.02, 0.16)
        rim = np.float32(0.34) - np.float32(0.2) * out
        light = (1 - rim * (1 - smoothstep(inward, 0.0, 0.05))) * (1 - deep)
        light *= 1 - (np.float32(0.3) - np.float32(0.1) * out) * smoothstep(aside, 0.06, 0.28)
        light *= 1 - np.float32(0.12) * np.exp(-((x / np.float32(0.03)) ** 2)) * smoothstep(inward, 0.03, 0.10)
        front = coverage * out * smoothstep(np.float32(0.06) - below_lower - np.float32(0.6) * x**2, 0.0, 0.03)
        # Where it lies on the lower teeth, it rounds off towards its lower edge.
        light *= 1 - np.float32(0.3) * out * smoothstep(below_lower, 0.0, 0.06)
        luma = 16 + (self._tongue[0] - 16) * light
        colour[..., 0] += (luma - colour[..., 0]) * coverage
        colour[..., 1:] += (self._tongue[1:] - colour[..., 1:]) * coverage[..., None]
        return np.asarray(front, dtype=np.float32)

    def _composite_teeth(
        self,
        colour: FloatArray,
        texture: ByteArray,
        across: FloatArray,
        below_edge: FloatArray,
        strength: float | FloatArray,
    ) -> FloatArray:
        """Composite a row of teeth over the colours.

        Args:
            colour: Y, Cb, Cr, float32 (h, w, 3).
            texture: A row of teeth, uint8 (rows, columns, 4): Y, Cb, Cr and alpha.
            across: The texture's column of every pixel, (h, w).
            below_edge: Distance below the middle tooth's edge, mouth units, (h, w).
            strength: Factor of the alpha, 0..1; one, or one for each pixel, (h, w).
        """
        down = (below_edge - np.float32(_TEXTURE_SPAN[2])) * np.float32(self._scale) - np.float32(0.5)
        placed = np.asarray(cv2.remap(texture, across, down, cv2.INTER_LINEAR), dtype=np.float32)
        coverage = (placed[..., 3] * (np.asarray(strength, np.float32) / 255))[..., None]
        return np.asarray(colour + (placed[..., :3] - colour) * coverage, dtype=np.float32)

    def _draw_teeth(self, is_upper: bool) -> ByteArray:
        """A row of teeth as Y, Cb, Cr, alpha, uint8 (rows, columns, 4).

        Upper teeth point down and lower teeth up, as in an image.
        """
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
        coverage = smoothstep(inward, -soft / 2, soft / 2) * smoothstep(bounds[-1] - np.abs(x), 0.0, 0.06)[None, :]
        bulge = 1 - 0.13 * across**2
        groove = 1 - 0.26 * smoothstep(np.abs(across), 1 - 0.018 / widths[which], 1.0)
        body = 0.90 + 0.10 * smoothstep(inward, 0.0, 0.025)
        far = 1 - 0.38 * smoothstep(np.abs(x), 0.10, 0.46)
        neck = 1 - 0.16 * smoothstep(inward, 0.045, 0.12)  # the tooth leans back towards the gum
        light = body * neck * (bulge * groove * far)[None, :] * (1.0 if is_upper else 0.86)
        gum = smoothstep(inward - 0.012 * (1 - across[None, :] ** 2), 0.115, 0.135)[..., None]
        colour = np.empty((len(y), len(x), 3))
        colour[..., 0] = 16 + (self._tooth[0] - 16) * light
        colour[..., 1:] = self._tooth[1:] + (1 - light[..., None]) * np.array([-4.0, 4.0])
        colour += (self._gum - colour) * gum
        return np.clip(np.dstack([colour, coverage * 255]) + 0.5, 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class _PixelPositions:
    """Positions of the pixels of a box, float32 (h, w), mouth units.

    ``x``: along the dental arch from its middle. ``y``: below the closed seam. The others: distances to the lips.
    """

    x: FloatArray
    y: FloatArray
    below_upper: FloatArray
    above_lower: FloatArray


def _to_dental_arch(x: FloatArray, yaw: float) -> FloatArray:
    """Position on the dental arch, as seen from the front, of what a head turned by ``yaw`` (tangent) shows at x.

    The arch is a parabola of depth ``_ARCH_DEPTH`` x². The mouth's axes foreshorten with the head, so the middle stays
    in place, and a point at x on the arch appears at x - depth · tan(yaw).
    """
    if abs(yaw) < _MIN_YAW:
        return x
    slant = np.float32(_ARCH_DEPTH * yaw)
    return np.asarray(2 * x / (1 + np.sqrt(np.maximum(1 - 4 * slant * x, np.float32(0.05)))), dtype=np.float32)


def _scaled_colour(bgr: tuple[int, int, int], light: float) -> NDArray[np.float32]:
    return bgr_to_ycbcr(np.array(bgr) * light)


def _pixel_positions(
    to_units: FloatArray, shape: tuple[int, ...], origin: tuple[float, float]
) -> tuple[FloatArray, FloatArray]:
    """x and y from ``origin`` of every pixel of a box, float32 (h, w) each, mouth units."""
    columns, rows = np.arange(shape[1], dtype=np.float32), np.arange(shape[0], dtype=np.float32)[:, None]
    x, y = (to_units[k, 0] * columns + to_units[k, 1] * rows + (to_units[k, 2] - origin[k]) for k in (0, 1))
    return x.astype(np.float32), y.astype(np.float32)


def _bounding_box(coverage: FloatArray) -> tuple[slice, slice]:
    """Smallest rectangle aligned to even pixels that contains all covered pixels: rows and columns."""
    rows, columns = np.flatnonzero(coverage.max(axis=1) > 0.002), np.flatnonzero(coverage.max(axis=0) > 0.002)
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    return (
        slice(int(rows[0]) // 2 * 2, min((int(rows[-1]) + 2) // 2 * 2, coverage.shape[0])),
        slice(int(columns[0]) // 2 * 2, min((int(columns[-1]) + 2) // 2 * 2, coverage.shape[1])),
    )


def _blurred(texture: ByteArray, deviation: float) -> ByteArray:
    """A texture blurred by a Gaussian of this deviation, texels."""
    if deviation < 0.1:
        return texture
    return np.asarray(cv2.GaussianBlur(texture, (0, 0), deviation, borderType=cv2.BORDER_REPLICATE), np.uint8)


def _blend(target: ByteArray, colour: FloatArray, coverage: FloatArray) -> None:
    np.copyto(target, np.clip(target + (colour - target) * coverage + 0.5, 0, 255).astype(np.uint8))
