"""Calls contours.c and points.c: landmarks of a mouth → the lines of its lips, its control points and their motion."""

from __future__ import annotations

import ctypes
from ctypes import c_int32, c_void_p
from dataclasses import dataclass
from typing import Any

import numpy as np

from musetalk_cli.engine.models.warp.native.arrays import address, declare, pointer
from musetalk_cli.engine.types.messages import FloatArray

NUM_LANDMARKS = 131
NUM_LINE_POINTS = 96  # as in contours.h
NUM_SHARED, NUM_POINTS, NUM_COMPONENTS = 64, 96, 8  # as in points.c
_UPPER_LIP, _LOWER_LIP, _LIP_POINTS = 22, 33, 11  # inner lips among the landmarks
_LINES = 4 * NUM_LINE_POINTS + 3  # floats of LipLines
_FLOAT = np.dtype(np.float32)

_PARAMETERS: dict[str, list[Any]] = {
    "measure_lips": [c_void_p, c_void_p, c_int32, c_void_p],
    "place_points": [c_void_p] * 6,
}


@dataclass(frozen=True)
class LipLines:
    """A face's inner lips, as ``LipContours``: ``x``, ``upper``, ``lower``, ``closed`` float32 (96,), mouth units."""

    x: FloatArray
    upper: FloatArray
    lower: FloatArray
    closed: FloatArray
    middle: float
    half_width: float
    own_gap: float


@dataclass(frozen=True)
class MouthPoints:
    """What moves the skin of the upper layer and of the lower, mouth units.

    ``own``, ``rest``: lines of the lips that the image shows, and of those at rest. ``positions`` float32 (2, n, 2):
    layer, control point; the first NUM_SHARED are those of both layers. ``motion`` float32 (2, n, 16): x and y of each
    component.
    """

    library: ctypes.CDLL
    own: LipLines
    rest: LipLines
    positions: FloatArray
    motion: FloatArray


def measure_mouth(library: ctypes.CDLL, face: FloatArray, rest: FloatArray) -> MouthPoints:
    """Measure a mouth.

    Args:
        library: The native kernel.
        face: All landmarks of a face, float32 (131, 2), mouth units.
        rest: Those of the same head with its mouth at rest.
    """
    declare(library, _PARAMETERS)
    shown, resting = (pointer(points, _FLOAT, (NUM_LANDMARKS, 2)) for points in (face, rest))
    lines = np.empty((2, _LINES), _FLOAT)
    own = address(lines)
    at_rest = own + _LINES * _FLOAT.itemsize
    for points, written in ((shown, own), (resting, at_rest)):
        upper, lower = (points + 2 * _FLOAT.itemsize * first for first in (_UPPER_LIP, _LOWER_LIP))
        library.measure_lips(upper, lower, _LIP_POINTS, written)
    positions = np.empty((2, NUM_POINTS, 2), _FLOAT)
    motion = np.empty((2, NUM_POINTS, 2 * NUM_COMPONENTS), _FLOAT)
    library.place_points(shown, resting, own, at_rest, address(positions), address(motion))
    return MouthPoints(library, _as_lines(lines[0]), _as_lines(lines[1]), positions, motion)


def _as_lines(values: FloatArray) -> LipLines:
    lines = values[: 4 * NUM_LINE_POINTS].reshape(4, NUM_LINE_POINTS)
    return LipLines(*lines, *values[4 * NUM_LINE_POINTS :].tolist())
