"""Closure of both lids and gaze → the part of an upsampled image that shows its eyes so, ready to sample from.

A lid comes down over the eyeball as one piece: what it shows is the lower end of the shut lid, and what does not fit
above it is folded in. The part is small, and made anew only when a lid or the gaze moves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from math import ceil, floor
from typing import TYPE_CHECKING

import numpy as np

from musetalk_cli.engine.models.warp.face.geometry import FloatArray, smoothstep
from musetalk_cli.engine.models.warp.face.region_map import RegionMap
from musetalk_cli.engine.models.warp.face.sampling import (
    FILTER_RADIUS_PX,
    Box,
    UpsampledImage,
    sample_bilinear,
)
from musetalk_cli.engine.models.warp.idle.eyelids import LASHES, Eye, eye_bounds
from musetalk_cli.engine.models.warp.native.eyes import LINES, EyeDrawer
from musetalk_cli.engine.types.colour import ByteArray, Planes, as_bytes
from musetalk_cli.engine.types.messages import Region

if TYPE_CHECKING:
    from musetalk_cli.engine.models.warp.native.face import NativeImage

_STEPS = 24  # of closure and of gaze that are told apart
_GAZE = 0.075  # travel of the eyeball at full gaze, half widths of the eye
_DRAWN_BAND = (0.9, 0.5)  # of drawn lids: share of the way to the brow, and the most
# How far below its edge a lid is shown before it is shut: with some of its lashes; drawn ones are higher.
_EDGE, _DRAWN_EDGE = 0.06, -0.07
_RIGID = 0.22  # height of the lid's lower end that is not folded, half widths
_SHADOW, _SHADOW_DEPTH = 0.30, 0.11  # of a half-shut lid on the eyeball
# Around the eyes, half widths: by how much more one end of them may be shifted than the other.
_MARGIN = 0.45
# Of one stream: one state holds while the eyes rest, and more hits are rare: 81 % with 2, 83 % with 64.
NUM_EYE_STATES = 8


@dataclass(frozen=True)
class EyePatch:
    """A part of an image with the eyes drawn: ``image``, whose first pixel is the whole image's at ``corner`` (2,)."""

    image: UpsampledImage
    corner: FloatArray

    @cached_property
    def native(self) -> NativeImage:
        """The same for C."""
        from musetalk_cli.engine.models.warp.native.face import NativeImage  # imports ctypes

        x, y = self.corner.tolist()
        return NativeImage(self.image.luma, self.image.chroma, (x, y))

    def write(self, planes: Planes, region_map: RegionMap, box: Box) -> None:
        """Sample ``box`` of ``planes`` again, in place; ``region_map``: by which they were sampled."""
        region_map.sample_again(planes, box, self.image, self.corner)


class EyeStates:
    """The eyes of a still at any closure and gaze; immutable.

    ``bounds_px``: left, top, right, bottom of everything that blinks and gaze change, pixels of the image.
    """

    def __init__(
        self,
        image: UpsampledImage,
        shut: Planes,
        eyes: tuple[Eye, ...],
        *,
        is_drawn: bool,
        num_kept: int = NUM_EYE_STATES,
    ) -> None:
        """Prepare the eyes.

        Args:
            image: The whole image, eyes open.
            shut: The same with its eyes shut.
            eyes: Its eyes, left and right.
            is_drawn: Whether the shut lids were drawn along with the image, up to the brow.
            num_kept: How many states stay drawn, 50 kB each at 512².
        """
        height, width = shut.luma.shape
        self.bounds_px = eye_bounds(eyes)
        margin = _MARGIN * max(eye.half_width for eye in eyes) + FILTER_RADIUS_PX
        low = np.clip((self.bounds_px[:2] - margin) // 2 * 2, 0, [width - 2, height - 2]).astype(int)
        high = np.minimum((self.bounds_px[2:] + margin) // 2 * 2 + 2, [width, height]).astype(int)
        columns, rows = slice(low[0], high[0]), slice(low[1], high[1])
        fine = slice(2 * low[1], 2 * high[1]), slice(2 * low[0], 2 * high[0])
        coarse = slice(low[1] // 2, high[1] // 2), slice(low[0] // 2, high[0] // 2)
        self._corner = low.astype(np.float32)
        self._open = UpsampledImage(np.ascontiguousarray(image.luma[fine]), np.ascontiguousarray(image.chroma[coarse]))
        self._shut = UpsampledImage.of(Planes(shut.luma[rows, columns], np.ascontiguousarray(shut.chroma[coarse])))
        edge = _DRAWN_EDGE if is_drawn else _EDGE
        if is_drawn:
            eyes = tuple(_with_drawn_band(eye) for eye in eyes)
        self._eyes = tuple(
            [_EyeGrid(eye, self._corner, plane.shape[:2], step, edge) for plane, step in self._planes_of(self._open)]
            if eye.is_open
            else []
            for eye in eyes
        )
        self._draw = lru_cache(maxsize=num_kept)(self._draw_state)

    @staticmethod
    def _planes_of(image: UpsampledImage) -> tuple[tuple[ByteArray, float], ...]:
        return (image.luma, 0.5), (image.chroma, 2.0)

    def box_in(self, region: Region, shift: FloatArray) -> Box:
        """Rows and columns of a region of the image, even, in which the eyes lie when the points around them are
        shifted by ``shift`` (n, 2), pixels."""
        left, top, right, bottom = self.bounds_px.tolist()
        (left_by, top_by), (right_by, bottom_by) = shift.min(axis=0).tolist(), shift.max(axis=0).tolist()
        rows = top + top_by - 1 - region.top, bottom + bottom_by + 1 - region.top
        columns = left + left_by - 1 - region.left, right + right_by + 1 - region.left
        return _even(*rows, region.height), _even(*columns, region.width)

    def at(self, left: float, right: float, gaze_x: float, gaze_y: float) -> EyePatch | None:
        """The eyes with these closures (0..1) and this gaze (-1..1, to the image's right and down); None where they are
        as the image shows them."""
        state = tuple(round(value * _STEPS) for value in (left, right, gaze_x, gaze_y))
        return self._draw(state) if any(state) else None

    def _draw_state(self, state: tuple[int, ...]) -> EyePatch:
        left, right, gaze_x, gaze_y = (value / _STEPS for value in state)
        opened = [plane for plane, _ in self._planes_of(self._open)]
        planes = [plane.copy() for plane in opened]
        for grids, closure in zip(self._eyes, (left, right), strict=True):
            for grid, *each in zip(grids, planes, opened, (self._shut.luma, self._shut.chroma), strict=True):
                grid.draw(each, closure, (gaze_x, gaze_y))
        return EyePatch(UpsampledImage(planes[0], planes[1]), self._corner)


class _EyeGrid:
    """One eye on the samples of one plane of the patch."""

    def __init__(self, eye: Eye, corner: FloatArray, shape: tuple[int, ...], step: float, edge: float) -> None:
        """Prepare the grid.

        Args:
            eye: The eye.
            corner: Position of the plane's first pixel, (2,).
            shape: Of the plane.
            step: Pixels from one sample to the next.
            edge: How far below its edge a lid is shown, half widths.
        """
        self._edge = np.float32(edge)
        first = 0.0 if step < 1 else 0.5  # a sample of chroma stands between its four pixels
        low, high = (eye_bounds((eye,))[part] - corner for part in (slice(0, 2), slice(2, 4)))
        start = np.clip(np.floor(low / step), 0, np.array(shape[1::-1]) - 1).astype(int)
        stop = np.clip(np.ceil(high / step) + 1, start + 1, shape[1::-1]).astype(int)
        self._box = slice(start[1], stop[1]), slice(start[0], stop[0])
        grid = np.meshgrid(*(np.arange(start[k], stop[k], dtype=np.float32) for k in (0, 1)))
        self._samples = np.stack(grid, axis=-1).astype(np.float32)
        pixels = self._samples * np.float32(step) + np.float32(first) + corner
        own = eye.own(pixels)
        self._x, self._y = own[..., 0], own[..., 1]
        self._upper, self._lower, self._top, self._meeting = eye.lines(self._x)
        self._within = 1 - smoothstep(np.abs(self._x), 0.88, 1.05)
        self._half_width = eye.half_width
        self._unit = np.asarray(eye.axes * np.float32(eye.half_width / step), np.float32)  # one unit, samples
        inside = np.minimum(self._y - self._upper, self._lower - self._y)
        self._eyeball = smoothstep(inside, -0.01, 0.12) * np.maximum(1 - np.abs(self._x) ** 3, 0)
        lines = (self._y, self._upper, self._lower, self._top, self._meeting, self._within, self._eyeball)
        self._drawer = EyeDrawer(
            dict(zip(LINES, lines, strict=True)),
            (int(start[1]), int(start[0])),
            half_width=eye.half_width,
            edge=edge,
            down=self._unit[:, 1],
        )

    def draw(self, planes: list[ByteArray], closure: float, gaze: tuple[float, float]) -> None:
        """Draw the eye into the first plane, in place; the others: the same with the eyes open, and shut."""
        plane, opened, shut = planes
        shift = self._unit @ np.array(gaze, np.float32) * np.float32(_GAZE)
        if self._drawer.draw(plane, opened, shut, closure, (float(shift[0]), float(shift[1]))):
            return
        under = plane[self._box]
        if any(gaze):
            under = sample_bilinear(plane, self._samples - self._eyeball[..., None] * shift)
        if closure > 0:
            under = self._lower_lid(under.astype(np.float32), shut, closure)
        plane[self._box] = under

    def _lower_lid(self, under: FloatArray, shut: ByteArray, closure: float) -> ByteArray:
        edge = self._upper + (self._meeting - self._upper) * np.float32(closure)
        bottom, end = edge + np.float32(LASHES), self._meeting + np.float32(LASHES)
        # Distances from the lashes' tips upwards: in the image to be, and on the shut lid.
        distance, room, whole = bottom - self._y, bottom - self._top, end - self._top
        rigid = np.minimum(np.float32(LASHES + _RIGID), 0.6 * room)
        folded = (distance - rigid) * (whole - rigid) / np.maximum(room - rigid, np.float32(0.02))
        along = end - (np.minimum(distance, rigid) + np.maximum(folded, 0)) - self._y
        lid = sample_bilinear(shut, self._samples + along[..., None] * self._unit[:, 1]).astype(np.float32)
        lashes = self._edge + (np.float32(LASHES) - self._edge) * np.float32(_ease(closure, 0.8, 1.0))
        alpha = np.clip(0.5 + (edge + lashes - self._y) * np.float32(self._half_width), 0, 1)
        alpha = alpha * smoothstep(self._y - self._top, 0.0, 0.08) * self._within * np.float32(_ease(closure, 0, 0.16))
        below = self._y - edge
        shadow = np.exp(-np.maximum(below, 0) / np.float32(_SHADOW_DEPTH)) * smoothstep(below, -0.06, 0.0)
        shadow = shadow * (1 - smoothstep(self._y - self._lower, -0.05, 0.05)) * self._within
        shadow = shadow * np.float32(_SHADOW * _ease(closure, 0, 0.3) * (1 - _ease(closure, 0.85, 1)))
        if under.ndim == 3:
            return as_bytes(np.clip(under + (lid - under) * alpha[..., None] + 0.5, 0, 255).astype(np.uint8))
        darkened = under - (under - 16) * shadow
        return as_bytes(np.clip(darkened + (lid - darkened) * alpha + 0.5, 0, 255).astype(np.uint8))


def _with_drawn_band(eye: Eye) -> Eye:
    share, most = _DRAWN_BAND
    band = min(max(share * eye.brow_gap, 0.1), most)
    return replace(eye, top=np.asarray(eye.upper - np.float32(band), np.float32))


def _ease(value: float, low: float, high: float) -> float:
    return float(smoothstep(np.float32(value), low, high))


def _even(first: float, last: float, extent: int) -> slice:
    start = min(max(2 * floor(first / 2), 0), extent)
    return slice(start, min(max(2 * ceil(last / 2), start), extent))
