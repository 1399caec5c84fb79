"""Mouth shape (6,) and an image → the pixels around its mouth, as Y'CbCr planes.

The skin is warped in two layers, the lips are shaded, and the inside of the mouth is drawn between them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.models.warp.face.control_points import COMPONENTS, GAP, gap_shares, wanted_gap
from musetalk_cli.engine.models.warp.face.geometry import FloatArray, share_between, smoothstep
from musetalk_cli.engine.models.warp.face.lip_contours import LipClosure, lip_heights
from musetalk_cli.engine.models.warp.face.mouth_interior import Articulation, LipOpening, MouthInterior, TeethPlacement
from musetalk_cli.engine.models.warp.face.mouth_pose import MouthPose
from musetalk_cli.engine.models.warp.face.region_map import RegionMap, blend_layer, half_box
from musetalk_cli.engine.models.warp.face.sampling import Box, Grid, UpsampledImage
from musetalk_cli.engine.models.warp.face.skin_layers import LayerDistances, SkinLayers
from musetalk_cli.engine.types.colour import ByteArray, Planes

if TYPE_CHECKING:
    from musetalk_cli.engine.models.warp.native.face import MouthMotion, NativeMouth

CELL = 0.055  # of the displacement grid, mouth units

# Depth of the rim where an image's lips are mixed with teeth and shadow, by the gap that the image shows. Landmarks do
# not separate the two.
_RIM = ((0.0, 0.1, 0.35), (0.0, 0.045, 0.08))  # gap and depth, mouth units
_MAX_RIM_SHARE = 0.3  # of a lip's height
_STRETCHED = 3.0  # times the rim's depth, over which the rest of a lip is stretched
# Between the lips of an open mouth nothing is drawn where the shape wants a smaller share of the gap that has come out
# than the first, and everything above the second. Gaps below _FINE_GAP (mouth units) count as that.
_LEAST_WANTED, _FINE_GAP = (0.2, 0.7), 0.02

_DENTAL = COMPONENTS.index("labiodental")
_LOWEST_SHAPE = np.array([0, 0, -1, 0, 0, 0], np.float32)


class MouthWarp:
    """Warps the mouth of one image; immutable and thread-safe.

    ``is_at_rest``: whether the image itself shows the mouth at rest, so that the rest shape needs no warp. ``native``:
    what :class:`NativeFace` draws in its place; None where there is no library.
    """

    native: NativeMouth | None

    def __init__(self, pose: MouthPose, grid: Grid, boxes: tuple[Box, Box, Box], interior: MouthInterior) -> None:
        """Prepare it.

        Args:
            pose: In pixels of the image that ``grid`` covers.
            grid: Over the region that changes.
            boxes: As of :class:`MouthPlaces`.
            interior: The inside of the mouth.
        """
        self._axes, self._grid, self._interior = pose.axes, grid, interior
        self._lip_closure = LipClosure.of(pose.face, pose.rest, pose.axes)
        self._teeth_placement = TeethPlacement(
            self._lip_closure.seam_middle, self._lip_closure.lower_lip_drop, pose.yaw
        )
        self.is_at_rest = pose.rest is pose.face and not self._lip_closure.own.own_gap
        self._mouth_box, self._lips_box, self._lips_px = boxes
        self._rims = self._measure_rims(pose)
        self._layers = SkinLayers(pose, self._lip_closure, grid.nodes[self._mouth_box], grid.cell_px)
        self.native = self._native_mouth()

    def _native_mouth(self) -> NativeMouth | None:
        skin, interior = self._layers.native, self._interior.native
        if skin is None or interior is None:
            return None
        from musetalk_cli.engine.models.warp.native.face import NativeMouth  # imports ctypes

        boxes, own_gap = (self._mouth_box, self._lips_box, self._lips_px), self._lip_closure.own.own_gap
        return NativeMouth(skin, interior, boxes, self._layers.origin, self._rims, own_gap, self._interior.edge_px)

    def _measure_rims(self, pose: MouthPose) -> tuple[float, float] | None:
        """Depths of the upper and the lower rim of an open mouth's lips, mouth units."""
        own_gap = self._lip_closure.own.own_gap
        return rim_depths(own_gap, lip_heights(pose.face, pose.axes)) if own_gap else None

    def render(
        self, shape: FloatArray, source: UpsampledImage, targets: FloatArray, head_map: FloatArray
    ) -> tuple[Planes, RegionMap]:
        """Render the grid's region.

        Args:
            shape: Mouth shape O, J, W, P, F, T, float32 (6,), within its ranges.
            source: The image.
            targets: Positions in ``source`` that the grid's nodes show while the mouth rests, (rows, columns, 2).
            head_map: The same mapping as a 2×3 affine matrix, valid on the face.

        Returns:
            The region's planes, and how they were sampled from ``source``.
        """
        weights = component_weights(shape)
        mapped = self._layers.backward_map(weights, targets[self._mouth_box])
        distances = self._layers.layer_distances(mapped, float(weights[_DENTAL]))
        whole = targets.copy()
        alpha = LayerDistances.unstack(distances).upper_alpha(float(self._grid.cell_px))
        whole[self._mouth_box] = mapped[1] + (mapped[0] - mapped[1]) * alpha[..., None]
        near = self._nearby(distances)
        upper, lower = self._upsample_map(mapped, near)
        alpha = near.upper_alpha(0.5)
        if self._lip_closure.own.own_gap:
            region_map = RegionMap(self._grid, whole, lower, self._lips_px)
            planes = region_map.sample(source)
            # Blend pixels, not positions: halfway between the two layers' positions are the image's own teeth.
            blend_layer(planes, self._lips_px, upper, alpha, source)
        else:
            region_map = RegionMap(self._grid, whole, lower + (upper - lower) * alpha[..., None], self._lips_px)
            planes = region_map.sample(source)
        self._draw_interior(planes, near, shape, weights, head_map)
        return planes, region_map

    def motions(self, shapes: FloatArray, head_maps: FloatArray) -> list[MouthMotion]:
        """The same for :class:`NativeFace`, of several: shapes (n, 6) and maps (n, 2, 3); only with :attr:`native`."""
        return [self._motion(*each) for each in zip(shapes, self._to_units(head_maps), strict=True)]

    def _motion(self, shape: FloatArray, to_units: FloatArray) -> MouthMotion:
        from musetalk_cli.engine.models.warp.native.face import MouthMotion

        assert self.native is not None  # noqa: S101 - as said above
        weights, own = component_weights(shape), self._lip_closure.own
        fields, shares = self._layers.fields_for(weights)
        wanted = wanted_opening(weights, own.half_width) if own.own_gap else None
        interior = self._interior.native_pose(self._teeth_placement, to_units, Articulation.of(shape))
        return MouthMotion(self.native, fields, shares, float(weights[_DENTAL]), wanted, interior)

    def _nearby(self, distances: FloatArray) -> LayerDistances:
        """The distances per pixel of the lips' box."""
        rows, columns = self._lips_px
        fine = self._grid.upsample(distances[self._lips_box], self._grid.cell_px)
        return LayerDistances.unstack(fine[: rows.stop - rows.start, : columns.stop - columns.start])

    def _upsample_map(self, mapped: FloatArray, near: LayerDistances) -> tuple[FloatArray, FloatArray]:
        """Where the pixels of the lips' box come from: (h, w, 2) in the upper layer, and in the lower."""
        both = np.concatenate([mapped[0][self._lips_box], mapped[1][self._lips_box]], axis=-1)
        fine = self._grid.upsample(both, self._grid.cell_px)[: near.upper.shape[0], : near.upper.shape[1]]
        upper, lower = fine[..., :2], fine[..., 2:]
        if self._rims is not None:
            down = np.array([-self._axes.x_axis[1], self._axes.x_axis[0]], dtype=np.float32)
            height = np.float32(0.5) + np.float32(0.5) * smoothstep(near.inward, 0.0, 0.25)
            upper = upper - self._stretch(near.upper_depth, self._rims[0] * height)[..., None] * down
            lower = lower + self._stretch(near.lower_depth, self._rims[1] * height)[..., None] * down
        return upper, lower

    def _stretch(self, inside: FloatArray, rim: FloatArray) -> FloatArray:
        """How much deeper in a lip a pixel is taken from, pixels: the lip is stretched over its rim, which may show the
        image's own teeth. ``inside``: pixels of the image inside the layer; ``rim`` in mouth units."""
        depth = rim * np.float32(self._axes.unit_px)
        clipped = np.maximum(inside, np.float32(0))
        return np.asarray(clipped - inside + np.maximum(depth - clipped / np.float32(_STRETCHED), 0), np.float32)

    def _draw_interior(
        self, planes: Planes, near: LayerDistances, shape: FloatArray, weights: FloatArray, head_map: FloatArray
    ) -> None:
        """Shade the lips and draw the inside of the mouth between them, in place."""
        unit_px, box = self._axes.unit_px, self._lip_planes(planes)
        upper, lower = near.upper / unit_px, near.lower / unit_px
        _shade_lips(box.luma, upper, lower, near.inward, self._lip_closure.own.own_gap)
        coverage = near.coverage(self._interior.edge_px)
        if self._lip_closure.own.own_gap:
            # Next to the corners of an open mouth the warped lips miss each other, as they run steeply there.
            side = 1 - near.inward / np.float32(self._lip_closure.own.half_width)
            wanted = wanted_gap(weights, side) / np.maximum(-upper - lower, np.float32(_FINE_GAP))
            coverage = coverage * smoothstep(wanted, *_LEAST_WANTED)
        opening = LipOpening(coverage, -upper, -lower, self._to_units(head_map))
        self._interior.draw(box, opening, self._teeth_placement, Articulation.of(shape))

    def _lip_planes(self, planes: Planes) -> Planes:
        """The lips' box of the region's planes."""
        return Planes(planes.luma[self._lips_px], planes.chroma[half_box(self._lips_px)])

    def _to_units(self, head_map: FloatArray) -> FloatArray:
        """2×3 affine matrix from the pixels of the lips' box to mouth units of a head moved by ``head_map``; for
        several maps (..., 2, 3) at once."""
        rows, columns = self._lips_px
        region = self._grid.region
        corner = np.array([region.left + columns.start, region.top + rows.start], dtype=np.float32)
        return _chain(self._axes.from_image, head_map, corner)


def clean_shape(mouth: NDArray[np.float32]) -> FloatArray:
    """Mouth shapes (..., 6) clipped to their ranges, with values that are not finite replaced by zero."""
    shape = np.asarray(mouth, dtype=np.float32)
    finite = np.where(np.isfinite(shape), shape, np.float32(0))
    return np.asarray(np.minimum(np.maximum(finite, _LOWEST_SHAPE), np.float32(1)), np.float32)


def cell_px(unit_px: float) -> int:
    """Size of the grid's cells for a mouth of this width; even."""
    return max(2, 2 * round(CELL * unit_px / 2))


def rim_depths(own_gap: float, lips: tuple[float, float]) -> tuple[float, float]:
    """Depths of the upper and the lower rim of an open mouth's ``lips``, given their heights; all mouth units."""
    usual = float(np.interp(own_gap, *_RIM))
    return min(usual, _MAX_RIM_SHARE * lips[0]), min(usual, _MAX_RIM_SHARE * lips[1])


def _shade_lips(luma: ByteArray, upper: FloatArray, lower: FloatArray, inward: FloatArray, own_gap: float) -> None:
    """Darken the lips' inner edges where they part, and draw the seam between lips that the image shows open, in place.

    Args:
        luma: uint8 (h, w), changed in place.
        upper: Distance inside the upper layer, as in LayerDistances, but in mouth units.
        lower: Distance inside the lower layer, likewise.
        inward: As in LayerDistances.
        own_gap: Lip gap that the image shows, mouth units.
    """
    dark = 0.30 * smoothstep(-lower, 0.01, 0.10) * np.exp(-np.maximum(upper, 0) / 0.022)
    dark += 0.22 * smoothstep(-upper, 0.01, 0.10) * np.exp(-np.maximum(lower, 0) / 0.018)
    if own_gap:
        apart = (upper - lower) / 2
        line = np.exp(-((apart / 0.016) ** 2)) * (1 - smoothstep(-upper - lower, 0.0, 0.04))
        dark += 0.4 * smoothstep(np.float32(own_gap), 0.0, 0.06) * line
    dark *= smoothstep(inward, -0.02, 0.06)
    np.copyto(luma, (luma - (luma - np.float32(16)) * dark + np.float32(0.5)).astype(np.uint8))


def component_weights(shape: FloatArray) -> FloatArray:
    """Weights of the displacement fields, in the order of COMPONENTS, for a mouth shape; closure overrides the gap."""
    gap, jaw, width, press, dental, _ = shape.tolist()
    is_open = 1 - share_between(press, 0.4, 0.8)
    rounding, gap = max(-width, 0.0), gap * is_open
    return np.array([gap, jaw, rounding, max(width, 0.0), press, dental * is_open, gap * rounding, 1], dtype=np.float32)


def wanted_opening(weights: FloatArray, half_width: float) -> tuple[float, float, float, float]:
    """What opens the lips of an image of an open mouth, as :class:`NativeInterior` takes it, for component ``weights``
    (8,). ``half_width``: of the inner mouth."""
    gap, purse, closing = gap_shares(weights)
    return GAP * float(gap), GAP * float(purse), float(closing), half_width


def _chain(outer: FloatArray, inner: FloatArray, corner: FloatArray) -> FloatArray:
    """The 2×3 affine outer(inner(corner + x)); for several ``inner`` (..., 2, 3) at once."""
    moved = inner[..., :2] @ corner + inner[..., 2]
    affine = np.empty(inner.shape, np.float32)
    affine[..., :2] = outer[:, :2] @ inner[..., :2]
    affine[..., 2] = (outer[:, :2] @ moved[..., None])[..., 0] + outer[:, 2]
    return affine
