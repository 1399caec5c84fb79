"""One frame's mouth in motion: skin warped in two layers, lips shaded, and what shows between them painted."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.models.warp.face.fields import REACH
from musetalk_cli.engine.models.warp.face.geometry import FloatArray, MouthAxes, smoothstep, transform_points
from musetalk_cli.engine.models.warp.face.interior import Interior, Opening, Setting
from musetalk_cli.engine.models.warp.face.layers import Claims, MouthLayers
from musetalk_cli.engine.models.warp.face.lips import Closing
from musetalk_cli.engine.models.warp.face.motion import COMPONENTS
from musetalk_cli.engine.models.warp.face.pose import MouthPose
from musetalk_cli.engine.models.warp.face.sampling import (
    PAD,
    Box,
    Grid,
    Source,
    bounds_of,
    to_chroma_samples,
    to_luma_samples,
)
from musetalk_cli.engine.types.colour import ByteArray, Planes

CELL = 0.055  # of the displacement grid, mouth units
_LIPS = (-0.62, 0.62, -0.26, 0.47)  # x and y range in which the two layers are told apart sharply, mouth units

# By an image's own gap: how deep its lips' rim is mixed with teeth and shadow that landmarks do not tell from them.
_RIM = ((0.0, 0.1, 0.35), (0.0, 0.045, 0.08))  # gap and depth, mouth units


class MouthWarp:
    """Moves the mouth of one image; immutable, and safe for several threads.

    ``is_at_rest``: whether the image itself shows the mouth at rest, so that nothing need be done to show it so.
    """

    def __init__(self, pose: MouthPose, grid: Grid, interior: Interior) -> None:
        """``pose`` in pixels of the image that ``grid`` lies on."""
        self._axes, self._grid, self._interior = pose.axes, grid, interior
        self._closing = Closing.of(pose.face, pose.rest, pose.axes)
        self._setting = Setting(self._closing.seam_middle, self._closing.hang, pose.yaw)
        self.is_at_rest = pose.rest is pose.face and not self._closing.own.own_gap
        self._mouth_box = grid.cells_touching(reach_px(pose.axes))
        margin = PAD * grid.cell_px * np.array([-1, -1, 1, 1], dtype=np.float32)
        outer = grid.cells_touching(_bounds_px(pose.axes, _LIPS) + margin)
        self._lips_box: Box = (_within(outer[0], self._mouth_box[0]), _within(outer[1], self._mouth_box[1]))
        self._lips_px = grid.pixels_of(outer)
        self._layers = MouthLayers(pose, self._closing, grid.nodes[self._mouth_box], grid.cell_px)

    def render(self, shape: FloatArray, source: Source, targets: FloatArray, unsway: FloatArray) -> Planes:
        """The region's pixels for a mouth shape (O, J, W, P, F; float32 (5,), within its ranges).

        ``targets``: what part of ``source`` is seen at the grid's nodes while the mouth rests; ``unsway``: the same as
        a 2×3 affine, valid on the face.
        """
        weights = _weights(shape)
        traced = self._layers.trace(weights, targets[self._mouth_box])
        claims = self._layers.claim(traced, float(weights[COMPONENTS.index("labiodental")]))
        whole = targets.copy()
        share = Claims.unstack(claims).upper_share(float(self._grid.cell_px))
        whole[self._mouth_box] = traced[1] + (traced[0] - traced[1]) * share[..., None]
        maps = self._grid.maps(whole)
        near = self._nearby(claims)
        upper, lower = self._trace_finely(traced, near)
        share = near.upper_share(0.5)
        if self._closing.own.own_gap:
            self._put(maps, lower)
            planes = source.sample(*maps)
            # The layers lie a whole mouth apart: halfway between their places would be the image's own teeth.
            self._blend(planes, source.sample(to_luma_samples(upper), to_chroma_samples(_halved(upper))), share)
        else:
            self._put(maps, lower + (upper - lower) * share[..., None])
            planes = source.sample(*maps)
        self._paint(planes, near, shape, unsway)
        return planes

    def _nearby(self, claims: FloatArray) -> Claims:
        """The claims in the lips' box, per pixel."""
        rows, columns = self._lips_px
        fine = self._grid.enlarge(claims[self._lips_box], self._grid.cell_px)
        return Claims.unstack(fine[: rows.stop - rows.start, : columns.stop - columns.start])

    def _trace_finely(self, traced: FloatArray, near: Claims) -> tuple[FloatArray, FloatArray]:
        """Where the pixels of the lips' box come from: in the upper layer, and in the lower."""
        both = np.concatenate([traced[0][self._lips_box], traced[1][self._lips_box]], axis=-1)
        fine = self._grid.enlarge(both, self._grid.cell_px)[: near.upper.shape[0], : near.upper.shape[1]]
        upper, lower = fine[..., :2], fine[..., 2:]
        own_gap = self._closing.own.own_gap
        if own_gap:
            # Beyond a lip's edge its colour goes on: what is shown there is the edge, not the image's own teeth.
            depth = float(np.interp(own_gap, *_RIM)) * self._axes.unit_px
            down = np.array([-self._axes.x_axis[1], self._axes.x_axis[0]], dtype=np.float32)
            upper = upper + np.minimum(near.upper - depth, np.float32(0))[..., None] * down
            lower = lower - np.minimum(near.lower - depth, np.float32(0))[..., None] * down
        return upper, lower

    def _put(self, maps: tuple[FloatArray, FloatArray], positions: FloatArray) -> None:
        """Put pixel positions of the lips' box into the region's maps."""
        rows, columns = self._lips_px
        maps[0][rows, columns] = to_luma_samples(positions)
        maps[1][_half(rows), _half(columns)] = to_chroma_samples(_halved(positions))

    def _blend(self, planes: Planes, over: Planes, share: FloatArray) -> None:
        """Lay ``over``, the lips' box of another layer, on the region's planes by its share, in place."""
        rows, columns = self._lips_px
        chroma_share = np.asarray(cv2.resize(share, over.chroma.shape[1::-1], interpolation=cv2.INTER_AREA))
        parts = (planes.luma[rows, columns], planes.chroma[_half(rows), _half(columns)])
        for under, top, weight in zip(parts, (over.luma, over.chroma), (share, chroma_share[..., None]), strict=True):
            np.copyto(under, (under + (top - under.astype(np.float32)) * weight + 0.5).astype(np.uint8))

    def _paint(self, planes: Planes, near: Claims, shape: FloatArray, unsway: FloatArray) -> None:
        """Shade the lips and paint what shows between them (in place)."""
        rows, columns = self._lips_px
        unit_px, region = self._axes.unit_px, self._grid.region
        corner = np.array([region.left + columns.start, region.top + rows.start], dtype=np.float32)
        to_units = _chain(self._axes.from_image, unsway, corner)
        upper, lower = near.upper / unit_px, near.lower / unit_px
        box = Planes(planes.luma[rows, columns], planes.chroma[_half(rows), _half(columns)])
        _shade_lips(box.luma, upper, lower, near.inward, self._closing.own.own_gap)
        opening = Opening(near.cover, -upper, -lower, to_units)
        self._interior.paint(box, opening, self._setting, float(shape[1]), float(shape[2]))


def clean_shape(mouth: NDArray[np.float32]) -> FloatArray:
    """A mouth shape with values out of range clipped, and those that are not finite at zero."""
    shape = np.nan_to_num(np.asarray(mouth, dtype=np.float32), nan=0, posinf=0, neginf=0)
    return np.clip(shape, [0, 0, -1, 0, 0], 1).astype(np.float32)


def cell_px(unit_px: float) -> int:
    """Size of the grid's cells for a mouth of this width, even."""
    return max(2, 2 * round(CELL * unit_px / 2))


def reach_px(axes: MouthAxes) -> FloatArray:
    """Left, top, right, bottom of everything that a mouth moves."""
    return _bounds_px(axes, REACH)


def _bounds_px(axes: MouthAxes, span: tuple[float, float, float, float]) -> FloatArray:
    left, right, top, bottom = span
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]], dtype=np.float32)
    return bounds_of(transform_points(axes.to_image, corners))


def _shade_lips(luma: ByteArray, upper: FloatArray, lower: FloatArray, inward: FloatArray, own_gap: float) -> None:
    """Round off the lips' inner edges where they part, and draw the line between lips that the image shows apart.

    ``upper``, ``lower``, ``inward``: as in Claims, in mouth units.
    """
    dark = 0.30 * smoothstep(-lower, 0.01, 0.10) * np.exp(-np.maximum(upper, 0) / 0.022)
    dark += 0.22 * smoothstep(-upper, 0.01, 0.10) * np.exp(-np.maximum(lower, 0) / 0.018)
    if own_gap:
        apart = (upper - lower) / 2
        line = np.exp(-((apart / 0.016) ** 2)) * (1 - smoothstep(-upper - lower, 0.0, 0.04))
        dark += 0.4 * smoothstep(np.float32(own_gap), 0.0, 0.06) * line
    dark *= smoothstep(inward, -0.02, 0.06)
    np.copyto(luma, (luma - (luma - np.float32(16)) * dark + np.float32(0.5)).astype(np.uint8))


def _weights(shape: FloatArray) -> FloatArray:
    """Weights of the displacement fields, in the order of COMPONENTS, for a mouth shape; closure overrides the gap."""
    gap, jaw, width, press, dental = (float(value) for value in shape)
    is_open = 1 - float(smoothstep(np.float32(press), 0.4, 0.8))
    rounding, gap = max(-width, 0.0), gap * is_open
    return np.array([gap, jaw, rounding, max(width, 0.0), press, dental * is_open, gap * rounding, 1], dtype=np.float32)


def _chain(outer: FloatArray, inner: FloatArray, corner: FloatArray) -> FloatArray:
    """The 2×3 affine outer(inner(corner + x))."""
    shift = outer[:, :2] @ (inner[:, :2] @ corner + inner[:, 2]) + outer[:, 2]
    return np.column_stack([outer[:, :2] @ inner[:, :2], shift]).astype(np.float32)


def _halved(positions: FloatArray) -> FloatArray:
    """Positions (h, w, 2) at every second pixel each way, between the pixels."""
    size = (positions.shape[1] // 2, positions.shape[0] // 2)
    return np.asarray(cv2.resize(positions, size, interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def _within(inner: slice, outer: slice) -> slice:
    """A span counted from the start of the span that holds it."""
    return slice(inner.start - outer.start, inner.stop - outer.start)


def _half(span: slice) -> slice:
    return slice(span.start // 2, span.stop // 2)
