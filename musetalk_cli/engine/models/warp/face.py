"""One picture of a face that talks: mouth shape and time in, the changed part of the frame out."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.landmarks import Landmarks
from musetalk_cli.engine.avatar.lids import Lids
from musetalk_cli.engine.colour import ByteArray, Planes, bgr_to_planes, even_size
from musetalk_cli.engine.messages import Region
from musetalk_cli.engine.models.warp.eyes import EyeStates, resize_picture
from musetalk_cli.engine.models.warp.fields import REACH
from musetalk_cli.engine.models.warp.geometry import FloatArray, MouthAxes, smoothstep, transform_points
from musetalk_cli.engine.models.warp.interior import Interior, Opening
from musetalk_cli.engine.models.warp.layers import Claims, MouthLayers
from musetalk_cli.engine.models.warp.life import head_pose, lid_closure
from musetalk_cli.engine.models.warp.lips import LipLines
from musetalk_cli.engine.models.warp.motion import COMPONENTS
from musetalk_cli.engine.models.warp.sampling import PAD, Box, Grid, Source, to_chroma_samples, to_luma_samples
from musetalk_cli.engine.models.warp.sway import Sway

_CELL = 0.055  # of the displacement grid, mouth units
_LIPS = (-0.62, 0.62, -0.26, 0.47)  # x and y range in which the two layers are told apart sharply, mouth units
_REST = np.zeros(5, dtype=np.float32)


class WarpFace:
    """Renders one face. Immutable after construction; :meth:`render` is pure and may run in several threads.

    ``base``: the resting frame, whose pixels outside ``region`` never change. ``region``: the even-aligned rectangle
    that :meth:`render` returns.
    """

    base: Planes
    region: Region

    def __init__(
        self,
        picture: ByteArray,
        landmarks: Landmarks,
        lids: Lids | None,
        *,
        height_px: int,
        life: bool,
        seed: int = 0,
    ) -> None:
        """Prepare a face.

        ``picture`` uint8 (h, w, 3) BGR with ``landmarks`` in its pixels; it is resized so that its height is
        ``height_px`` (rounded to even, as the width is). ``lids``: painted eyelids for blinks. ``life``: blinks and
        head sway; when off, nothing outside the mouth's surroundings changes. ``seed`` chooses blinks and sway.
        """
        size = even_size(picture.shape[1], picture.shape[0], height_px)
        face = _scale_landmarks(landmarks, size[0] / picture.shape[1], size[1] / picture.shape[0])
        planes = bgr_to_planes(resize_picture(picture, size))
        self._seed = seed
        self._eyes = EyeStates(Source.of(planes), picture, size, lids if life else None)
        self._axes = MouthAxes.of(face)
        self._lips = LipLines.of(face, self._axes)
        sway = Sway(face, size) if life else None
        mouth_px = _bounds(transform_points(self._axes.to_picture, _corners(REACH)))
        self.region = _region_around([mouth_px] if sway is None else [mouth_px, sway.bounds_px], size)
        self._grid = Grid(self.region, max(2, 2 * round(_CELL * self._axes.unit_px / 2)))
        self._sway = sway.on(self._grid.nodes) if sway else None
        self._place_mouth(face, mouth_px)
        self._interior = Interior(self._lips.closed_middle, self._axes.unit_px, _skin_luma(planes.luma, face))
        self.base = _replace(planes, self.region, self.render(_REST, 0.0))

    def _place_mouth(self, face: Landmarks, mouth_px: FloatArray) -> None:
        """Prepare the mouth's box in the grid and, inside it, the lips' box in grid and pixels."""
        self._mouth_box = self._grid.cells_touching(mouth_px)
        lips_px = _bounds(transform_points(self._axes.to_picture, _corners(_LIPS)))
        margin = PAD * self._grid.cell_px * np.array([-1, -1, 1, 1], dtype=np.float32)
        outer = self._grid.cells_touching(lips_px + margin)
        self._lips_box: Box = (_within(outer[0], self._mouth_box[0]), _within(outer[1], self._mouth_box[1]))
        self._lips_px = self._grid.pixels_of(outer)
        nodes = self._grid.nodes[self._mouth_box]
        self._layers = MouthLayers(face, self._axes, self._lips, nodes, self._grid.cell_px)

    def render(self, mouth: NDArray[np.float32], time_s: float) -> Planes:
        """The region's pixels for a mouth shape (O, J, W, P, F; float32 (5,)) at a time: mouth, blink and sway.

        Values outside their ranges are clipped; not finite ones count as zero.
        """
        shape = _clean(mouth)
        motion, targets, closure = np.zeros((2, 3), dtype=np.float32), self._grid.nodes, 0.0
        if self._sway is not None:
            motion = self._sway.matrix(head_pose(self._seed, time_s))
            targets = targets + self._sway.offset(motion)
            closure = lid_closure(self._seed, time_s)
        source = self._eyes.at(closure)
        if not shape.any() and not self._lips.own_gap:
            return source.sample(*self._maps(targets))
        return self._render_mouth(shape, source, targets, np.eye(2, 3, dtype=np.float32) + motion)

    def _render_mouth(self, shape: FloatArray, source: Source, targets: FloatArray, unsway: FloatArray) -> Planes:
        """As :meth:`render`, for a mouth that is not at rest.

        ``targets``: what part of the unmoved picture is seen at the grid's nodes; ``unsway``: the same as a 2×3 affine,
        valid on the face.
        """
        weights = _weights(shape)
        places = targets[self._mouth_box]
        traced = self._layers.trace(weights, places)
        claims = self._layers.claim(traced, float(weights[COMPONENTS.index("labiodental")]))
        whole = targets.copy()
        share = Claims.unstack(claims).upper_share(float(self._grid.cell_px))
        whole[self._mouth_box] = traced[1] + (traced[0] - traced[1]) * share[..., None]
        luma_map, chroma_map = self._maps(whole)
        near = self._sharpen(luma_map, chroma_map, traced, claims)
        planes = source.sample(luma_map, chroma_map)
        self._paint(planes, near, shape, unsway)
        return planes

    def _maps(self, positions: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Sampling maps of the whole region, for luma and chroma, from the grid's positions."""
        height, width, cell = self.region.height, self.region.width, self._grid.cell_px
        luma = self._grid.enlarge(to_luma_samples(positions), cell)[:height, :width]
        chroma = self._grid.enlarge(to_chroma_samples(positions), cell // 2)[: height // 2, : width // 2]
        return luma, chroma

    def _sharpen(self, luma_map: FloatArray, chroma_map: FloatArray, traced: FloatArray, claims: FloatArray) -> Claims:
        """Redo the maps in the lips' box (in place), where the seam must be sharp; the claims there, per pixel."""
        rows, columns = self._lips_px
        height, width = rows.stop - rows.start, columns.stop - columns.start
        both = np.concatenate([traced[0][self._lips_box], traced[1][self._lips_box]], axis=-1)
        fine = self._grid.enlarge(both, self._grid.cell_px)[:height, :width]
        near = Claims.unstack(self._grid.enlarge(claims[self._lips_box], self._grid.cell_px)[:height, :width])
        positions = fine[..., 2:] + (fine[..., :2] - fine[..., 2:]) * near.upper_share(0.5)[..., None]
        luma_map[rows, columns] = to_luma_samples(positions)
        half = cv2.resize(positions, (width // 2, height // 2), interpolation=cv2.INTER_LINEAR)
        chroma_map[_half(rows), _half(columns)] = to_chroma_samples(np.asarray(half, dtype=np.float32))
        return near

    def _paint(self, planes: Planes, near: Claims, shape: FloatArray, unsway: FloatArray) -> None:
        """Shade the lips and paint what shows between them (in place)."""
        rows, columns = self._lips_px
        unit_px = self._axes.unit_px
        corner = np.array([self.region.left + columns.start, self.region.top + rows.start], dtype=np.float32)
        to_units = _chain(self._axes.from_picture, unsway, corner)
        upper, lower = near.upper / unit_px, near.lower / unit_px
        box = Planes(planes.luma[rows, columns], planes.chroma[_half(rows), _half(columns)])
        _shade_lips(box.luma, upper, lower, near.inward, self._lips.own_gap)
        self._interior.paint(box, Opening(near.cover, -upper, -lower, to_units), float(shape[1]), float(shape[2]))


def _shade_lips(luma: ByteArray, upper: FloatArray, lower: FloatArray, inward: FloatArray, own_gap: float) -> None:
    """Round off the lips' inner edges where they part, and draw the line between lips that the picture shows apart.

    ``upper``, ``lower``, ``inward``: as in Claims, in mouth units.
    """
    dark = 0.30 * smoothstep(-lower, 0.01, 0.10) * np.exp(-np.maximum(upper, 0) / 0.022)
    dark += 0.22 * smoothstep(-upper, 0.01, 0.10) * np.exp(-np.maximum(lower, 0) / 0.018)
    if own_gap:
        apart = (upper - lower) / 2
        line = np.exp(-((apart / 0.016) ** 2)) * (1 - smoothstep(-upper - lower, 0.0, 0.04))
        dark += 0.5 * smoothstep(np.float32(own_gap), 0.0, 0.06) * line
    dark *= smoothstep(inward, -0.02, 0.06)
    np.copyto(luma, (luma - (luma - np.float32(16)) * dark + np.float32(0.5)).astype(np.uint8))


def _weights(shape: FloatArray) -> FloatArray:
    """Weights of the displacement fields, in the order of COMPONENTS, for a mouth shape; closure overrides the gap."""
    gap, jaw, width, press, dental = (float(value) for value in shape)
    is_open = 1 - float(smoothstep(np.float32(press), 0.4, 0.8))
    rounding, gap = max(-width, 0.0), gap * is_open
    return np.array([gap, jaw, rounding, max(width, 0.0), press, dental * is_open, gap * rounding, 1], dtype=np.float32)


def _clean(mouth: NDArray[np.float32]) -> FloatArray:
    shape = np.nan_to_num(np.asarray(mouth, dtype=np.float32), nan=0, posinf=0, neginf=0)
    return np.clip(shape, [0, 0, -1, 0, 0], 1).astype(np.float32)


def _scale_landmarks(face: Landmarks, factor_x: float, factor_y: float) -> Landmarks:
    factors = np.array([factor_x, factor_y])
    return Landmarks.from_mapping(
        {name: (np.asarray(points) + 0.5) * factors - 0.5 for name, points in vars(face).items()}
    )


def _skin_luma(luma: ByteArray, face: Landmarks) -> float:
    """Typical luma of the cheeks: the median along lines from the mouth's corners to the eyes' outer corners."""
    ends = ((face.outer_upper_lip[0], face.left_upper_lid[0]), (face.outer_upper_lip[-1], face.right_upper_lid[-1]))
    steps = np.linspace(0.2, 0.7, 24)[:, None]
    points = np.concatenate([start + (stop - start) * steps for start, stop in ends]).round().astype(int)
    x, y = np.clip(points, 0, [luma.shape[1] - 1, luma.shape[0] - 1]).T
    return float(np.median(luma[y, x]))


def _region_around(bounds_px: list[FloatArray], size: tuple[int, int]) -> Region:
    """The even rectangle of a picture of ``size`` that holds all bounds (left, top, right, bottom)."""
    every = np.array(bounds_px)
    low = np.clip(np.floor(every[:, :2].min(axis=0) / 2) * 2, 0, np.array(size) - 2)
    high = np.clip(np.ceil(every[:, 2:].max(axis=0) / 2) * 2, low + 2, size)
    left, top, right, bottom = (int(value) for value in (*low, *high))
    return Region(left, top, right - left, bottom - top)


def _replace(planes: Planes, region: Region, part: Planes) -> Planes:
    """A copy of a frame with a region replaced."""
    luma, chroma = planes.luma.copy(), planes.chroma.copy()
    rows, columns = (slice(start, start + n) for start, n in ((region.top, region.height), (region.left, region.width)))
    luma[rows, columns] = part.luma
    chroma[_half(rows), _half(columns)] = part.chroma
    return Planes(luma, chroma)


def _chain(outer: FloatArray, inner: FloatArray, corner: FloatArray) -> FloatArray:
    """The 2×3 affine outer(inner(corner + x))."""
    shift = outer[:, :2] @ (inner[:, :2] @ corner + inner[:, 2]) + outer[:, 2]
    return np.column_stack([outer[:, :2] @ inner[:, :2], shift]).astype(np.float32)


def _corners(span: tuple[float, float, float, float]) -> FloatArray:
    left, right, top, bottom = span
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], dtype=np.float32)


def _bounds(points: FloatArray) -> FloatArray:
    return np.concatenate([points.min(axis=0), points.max(axis=0)])


def _within(inner: slice, outer: slice) -> slice:
    """A span counted from the start of the span that holds it."""
    return slice(inner.start - outer.start, inner.stop - outer.start)


def _half(span: slice) -> slice:
    return slice(span.start // 2, span.stop // 2)
