"""Calls points.c: a frame's landmarks → the lines of its lips, the control points of its mouth, and their motion."""

from __future__ import annotations

import ctypes
import struct
from ctypes import c_void_p
from typing import Any, NamedTuple

import numpy as np

from musetalk_cli.engine.models.warp.native.arrays import address, declare, pointer
from musetalk_cli.engine.types.messages import FloatArray

NUM_LANDMARKS = 131
NUM_LINE_POINTS = 96  # as in contours.h
NUM_SHARED, NUM_POINTS, NUM_COMPONENTS = 64, 96, 8  # as in points.c
_LINES = 4 * NUM_LINE_POINTS + 3  # floats of LipLines
_UNITS, _NUMBERS = 6, 11  # and of what follows them in MouthMeasures
_FLOAT = np.dtype(np.float32)
_AXES = struct.Struct("@7f")  # FrameAxes

_PARAMETERS: dict[str, list[Any]] = {"measure_mouth": [c_void_p] * 6}


class FrameAxes(NamedTuple):
    """A mouth's axes in a frame, pixels, as ``MouthAxes``; ``corner``: of the region in whose pixels it is measured."""

    origin: tuple[float, float]
    x_axis: tuple[float, float]
    unit_px: float
    corner: tuple[float, float]


class LipLines(NamedTuple):
    """A face's inner lips, as ``LipContours``: ``x``, ``upper``, ``lower``, ``closed`` float32 (96,), mouth units."""

    x: FloatArray
    upper: FloatArray
    lower: FloatArray
    closed: FloatArray
    middle: float
    half_width: float
    own_gap: float


class MouthNumbers(NamedTuple):
    """Of a mouth, mouth units.

    ``first_x``, ``step_x``, ``middle``, ``half_width``, ``own_gap``: of the lines of its own lips. ``yaw``: tangent, as
    of ``MouthPose``. ``upper_lip``, ``lower_lip``: heights. ``seam_x``, ``seam_y``: the middle of the closed lips;
    ``drop``: from there to the lower lip at rest.
    """

    first_x: float
    step_x: float
    middle: float
    half_width: float
    own_gap: float
    yaw: float
    upper_lip: float
    lower_lip: float
    seam_x: float
    seam_y: float
    drop: float


class MouthPoints(NamedTuple):
    """A measured mouth, and what moves the skin of the upper layer and of the lower; mouth units.

    ``lines`` float32 (2, 387): of the lips that the frame shows, and of those at rest, for :func:`lip_lines`.
    ``to_units`` float32 (2, 3): from the region's pixels. ``positions`` float32 (2, n, 2): layer, control point; the
    first NUM_SHARED are those of both layers. ``motion`` float32 (2, n, 16): x and y of each component.
    """

    library: ctypes.CDLL
    lines: FloatArray
    to_units: FloatArray
    numbers: MouthNumbers
    positions: FloatArray
    motion: FloatArray


def measure_mouth(library: ctypes.CDLL, shown: FloatArray, rest: FloatArray, axes: FrameAxes) -> MouthPoints:
    """Measure a mouth.

    Args:
        library: The native kernel.
        shown: All landmarks of a face, float32 (131, 2), pixels of the frame.
        rest: Those of the same head with its mouth at rest.
        axes: The mouth's.
    """
    declare(library, _PARAMETERS)
    shape = (NUM_LANDMARKS, 2)
    measures = np.empty(2 * _LINES + _UNITS + _NUMBERS, _FLOAT)
    positions = np.empty((2, NUM_POINTS, 2), _FLOAT)
    motion = np.empty((2, NUM_POINTS, 2 * NUM_COMPONENTS), _FLOAT)
    library.measure_mouth(
        _AXES.pack(*axes.origin, *axes.x_axis, axes.unit_px, *axes.corner),
        *(pointer(shown, _FLOAT, shape), pointer(rest, _FLOAT, shape)),
        *(address(measures), address(positions), address(motion)),
    )
    end = 2 * _LINES
    numbers = MouthNumbers(*measures[end + _UNITS :].tolist())
    units = measures[end : end + _UNITS].reshape(2, 3)
    return MouthPoints(library, measures[:end].reshape(2, _LINES), units, numbers, positions, motion)


def lip_lines(lines: FloatArray) -> LipLines:
    """One of ``MouthPoints.lines``, float32 (387,)."""
    values = lines[: 4 * NUM_LINE_POINTS].reshape(4, NUM_LINE_POINTS)
    return LipLines(*values, *lines[4 * NUM_LINE_POINTS :].tolist())
