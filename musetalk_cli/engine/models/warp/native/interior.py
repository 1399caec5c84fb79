"""Calls interior.c: the inside of a mouth, drawn into the planes of the lips' box."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, byref, c_float, c_int32, c_ssize_t, c_void_p
from dataclasses import dataclass
from typing import Any

import numpy as np

from musetalk_cli.engine.models.warp.native.mouth import LipPixels
from musetalk_cli.engine.native.arrays import declare, pointer, pointer_to_rows, structure
from musetalk_cli.engine.types.colour import ByteArray, Planes
from musetalk_cli.engine.types.messages import FloatArray

_FLOAT = np.dtype(np.float32)


_Tint = structure(
    "Tint",
    **dict.fromkeys(("levels", "colours"), c_void_p),
    num_levels=c_int32,
    naturalness=c_float,
    cast=c_float * 2,
    skin_luma=c_float,
)
_MouthInterior = structure(
    "MouthInterior",
    **dict.fromkeys(("upper_teeth", "lower_teeth"), c_void_p),
    **dict.fromkeys(("texture_height", "texture_width"), c_int32),
    scale=c_float,
    **dict.fromkeys(("deep", "cavity", "tongue"), c_float * 3),
    tint=_Tint,
)
NUM_POSE = 14  # numbers of an InteriorPose of stages.h
_Pose = c_float * NUM_POSE
_LipOpening = structure(
    "LipOpening",
    **dict.fromkeys(("coverage", "upper", "lower"), c_void_p),
    **dict.fromkeys(("height", "width"), c_int32),
    unit_px=c_float,
)
_BoxPlanes = structure(
    "BoxPlanes",
    **dict.fromkeys(("luma", "chroma"), c_void_p),
    **dict.fromkeys(("luma_stride", "chroma_stride"), c_ssize_t),
)
_WantedGap = structure("WantedGap", **dict.fromkeys(("gap", "purse", "closing", "half_width"), c_float))

_PARAMETERS: dict[str, list[Any]] = {
    "lip_coverage": [*[c_void_p] * 3, c_float, c_float, POINTER(_WantedGap), c_int32, c_int32, c_void_p],
    "draw_interior": [POINTER(_MouthInterior), POINTER(_Pose), POINTER(_LipOpening), POINTER(_BoxPlanes)],
}


@dataclass(frozen=True)
class InteriorColours:
    """Y, Cb, Cr of the cavity's back and front and of the tongue, (3,) each."""

    deep: FloatArray
    cavity: FloatArray
    tongue: FloatArray


@dataclass(frozen=True)
class InteriorTint:
    """As :class:`Tint`: ``levels`` float32 (n,), ``colours`` (n, 2), ``cast`` (2,)."""

    levels: FloatArray
    colours: FloatArray
    naturalness: float
    cast: FloatArray
    skin_luma: float


@dataclass(frozen=True)
class InteriorPose:
    """What moves the inside of a mouth in one frame.

    ``to_units``: 2×3 affine matrix from the box's pixels to the skull's mouth units. ``middle``, ``yaw``: as in
    :class:`TeethPlacement`. ``upper_edge``: of the upper incisors, below the closed seam, mouth units. ``jaw``,
    ``width``: of the mouth shape. ``tip_rise``, ``tip_out``: as in :class:`Articulation`.
    """

    to_units: FloatArray
    middle: tuple[float, float]
    yaw: float
    upper_edge: float
    jaw: float
    width: float
    tip_rise: float = 0.0
    tip_out: float = 0.0


class NativeInterior:
    """What MouthInterior draws; immutable and thread-safe."""

    def __init__(
        self,
        library: ctypes.CDLL,
        teeth: tuple[ByteArray, ByteArray],
        scale: float,
        colours: InteriorColours,
        tint: InteriorTint | None,
    ) -> None:
        """Prepare it.

        Args:
            library: The native kernel.
            teeth: The upper and the lower row, uint8 (rows, columns, 4) each: Y, Cb, Cr and alpha.
            scale: Pixels of the teeth per mouth unit.
            colours: Of what lies behind the teeth.
            tint: The image's tint; None where its colours are natural.
        """
        declare(library, _PARAMETERS)
        self._library = library
        rows, columns = teeth[0].shape[:2]
        padded = [np.pad(row, ((1, 1), (1, 1), (0, 0))) for row in teeth]
        self._kept = (padded, tint)
        self.structure = _MouthInterior(
            *(pointer(row, np.uint8, (rows + 2, columns + 2, 4)) for row in padded),
            *(rows, columns, scale),
            *((c_float * 3)(*colour) for colour in (colours.deep, colours.cavity, colours.tongue)),
            _Tint() if tint is None else _tint_of(tint),
        )

    def coverage(self, near: LipPixels, wanted: tuple[float, float, float, float] | None, edge_px: float) -> FloatArray:
        """How much of each pixel lies between the lips, whose edges are ``edge_px`` wide, float32 (h, w), 0..1.

        ``wanted``: where the image shows an open mouth, what opens the lips as in ``wanted_gap``: gap, purse, closing;
        and half the width of the inner mouth; all in mouth units.
        """
        height, width = near.upper.shape
        coverage = np.empty((height, width), np.float32)
        gap = _WantedGap(*(wanted or (0, 0, 0, 0)))
        self._library.lip_coverage(
            *_distance_pointers(near),
            *(near.unit_px, edge_px, byref(gap), height, width, coverage.ctypes.data),
        )
        return coverage

    def draw(self, box: Planes, near: LipPixels, coverage: FloatArray, pose: list[float]) -> None:
        """Draw the interior into the planes of the lips' box, in place; ``coverage`` float32 (h, w), ``pose`` as from
        :func:`pose_of`."""
        height, width = near.upper.shape
        luma, luma_stride = pointer_to_rows(box.luma, np.uint8, (height, width))
        chroma, chroma_stride = pointer_to_rows(box.chroma, np.uint8, (height // 2, width // 2, 2))
        upper, lower, _ = _distance_pointers(near)
        opening = _LipOpening(pointer(coverage, _FLOAT, (height, width)), upper, lower, height, width, near.unit_px)
        planes = _BoxPlanes(luma, chroma, luma_stride, chroma_stride)
        self._library.draw_interior(byref(self.structure), byref(_Pose(*pose)), byref(opening), byref(planes))


def pose_of(pose: InteriorPose) -> list[float]:
    """As C takes it: NUM_POSE numbers."""
    moves = (pose.yaw, pose.upper_edge, pose.jaw, pose.width, pose.tip_rise, pose.tip_out)
    return [*pose.to_units.ravel().tolist(), *pose.middle, *moves]


def _distance_pointers(near: LipPixels) -> list[int]:
    return [pointer(plane, _FLOAT, near.upper.shape) for plane in (near.upper, near.lower, near.inward)]


def _tint_of(tint: InteriorTint) -> ctypes.Structure:
    num_levels = len(tint.levels)
    return _Tint(
        pointer(tint.levels, _FLOAT, (num_levels,)),
        pointer(tint.colours, _FLOAT, (num_levels, 2)),
        *(num_levels, tint.naturalness, (c_float * 2)(*tint.cast), tint.skin_luma),
    )
