"""Frames made smaller in C: numpy arrays in, numpy arrays out. See shrinking.c."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.native.arrays import address, declare, pointer, structure
from musetalk_cli.engine.native.library import load
from musetalk_cli.engine.types.colour import ByteArray

MAX_TIMES = 16  # as MAX_TAPS of shrinking.h
MAX_SIDE_PX = 16384

_POINTER, _INT, _FLOAT = ctypes.c_void_p, ctypes.c_int32, ctypes.c_float
_Axis = structure(
    "Axis", **dict.fromkeys(("first", "weights"), _POINTER), **dict.fromkeys(("size", "shrunk", "taps"), _INT)
)
_Shrinking = structure("Shrinking", rows=_Axis, columns=_Axis, scale=_FLOAT, offset=_FLOAT)
_FrameShrinking = structure("FrameShrinking", luma=_Shrinking, chroma=_Shrinking)
_SIGNATURES: dict[str, list[Any]] = {
    "shrink_plane": [_POINTER, ctypes.POINTER(_Shrinking), _POINTER],
    "shrink_frame": [_POINTER, ctypes.POINTER(_FrameShrinking), _POINTER],
}


class Size(NamedTuple):
    """Of an image or a plane, in pixels."""

    width: int
    height: int


def shrink_i420(image: ByteArray, width: int, height: int) -> ByteArray | None:
    """Average the areas of a planar I420 image, uint8 (h · 3/2, w), so that it has this width and height.

    None where that is left to OpenCV: there is no kernel, or see :func:`can_shrink`. ValueError where ``image`` is no
    such image, or a side is odd.
    """
    if (width | height) & 1:
        raise ValueError(f"a frame has even sides, not {width} × {height}")
    size, wanted = Size(image.shape[1], image.shape[0] // 3 * 2), Size(width, height)
    library = load() if can_shrink(size, wanted) else None
    if library is None:
        return None
    declare(library, _SIGNATURES)
    shrunk = np.empty((height // 2 * 3, width), np.uint8)
    first = pointer(image, np.uint8, (size.height // 2 * 3, size.width // 2 * 2))
    library.shrink_frame(first, _plan_frame(size, wanted).how, address(shrunk))
    return shrunk


def shrink_plane(plane: ByteArray, width: int, height: int) -> ByteArray | None:
    """The same for a plane, uint8 (h, w), of any size."""
    size, wanted = Size(plane.shape[1], plane.shape[0]), Size(width, height)
    library = load() if can_shrink(size, wanted) else None
    if library is None:
        return None
    declare(library, _SIGNATURES)
    shrunk = np.empty((height, width), np.uint8)
    library.shrink_plane(pointer(plane, np.uint8, plane.shape), _plan_plane(size, wanted).how, address(shrunk))
    return shrunk


def can_shrink(size: Size, wanted: Size) -> bool:
    """Whether the kernel shrinks one size to another: the height is less, the width is no more, each by MAX_TIMES at
    most."""
    if min(wanted) < 1 or max(size) > MAX_SIDE_PX or wanted.height >= size.height:
        return False
    return all(to <= side <= MAX_TIMES * to for side, to in zip(size, wanted, strict=True))


class Taps(NamedTuple):
    """What the samples of a shrunk axis are averaged from."""

    first: NDArray[np.int32]
    """(n,): each one's first neighbour."""
    weights: NDArray[np.uint16]
    """(n, taps): the weights of that and the next ones, in 1/65536."""


class Averages(NamedTuple):
    """How a plane is shrunk: rows, then columns; ``scale`` times the sum, and ``offset``, is a level."""

    rows: Taps
    columns: Taps
    scale: float
    offset: float


class _Plan(NamedTuple):
    """How a plane or a frame is shrunk; ``owners`` keep what the structure points to."""

    how: ctypes.Structure
    owners: tuple[object, ...]


@lru_cache(maxsize=64)
def _plan_plane(size: Size, wanted: Size) -> _Plan:
    averages = find_averages(size, wanted)
    return _Plan(_structure(averages, size), (averages,))


@lru_cache(maxsize=64)
def _plan_frame(size: Size, wanted: Size) -> _Plan:
    luma = _plan_plane(size, wanted)
    chroma = _plan_plane(*(Size(each.width // 2, each.height // 2) for each in (size, wanted)))
    return _Plan(_FrameShrinking(luma.how, chroma.how), (luma, chroma))


def _structure(averages: Averages, size: Size) -> ctypes.Structure:
    rows, columns = (
        _Axis(address(taps.first), address(taps.weights), side, *taps.weights.shape)
        for taps, side in ((averages.rows, size.height), (averages.columns, size.width))
    )
    return _Shrinking(rows, columns, averages.scale, averages.offset)


def find_averages(size: Size, wanted: Size) -> Averages:
    """How a plane of one size is shrunk to another, so that levels are rounded as OpenCV does it.

    Where every area is one of whole samples, these are counted. Else they are weighed.
    """
    across, down = size.width / wanted.width, size.height / wanted.height
    if not (across.is_integer() and down.is_integer()):
        return _weigh(size, wanted)
    rows = find_taps(size.height, wanted.height, int(down) << 10)
    columns = find_taps(size.width, wanted.width, int(across) << 14)
    # Of two levels that are as near, OpenCV takes the even one; of four samples' mean, the upper one.
    return Averages(rows, columns, 1 / (across * down), 0.125 if across == down == 2 else 0.0)


def _weigh(size: Size, wanted: Size) -> Averages:
    """Products lose what is below 1/256 level: half of that, on average. It is added again, unless they are exact."""
    # The one weight of an axis that stays must have 16 bits, too.
    whole = 1 << (16 if wanted.width < size.width else 15)
    rows = find_taps(size.height, wanted.height, 1 << 16)
    columns = find_taps(size.width, wanted.width, whole)
    row_step, column_step = (int(np.gcd.reduce(taps.weights, axis=None)) for taps in (rows, columns))
    is_row_exact = row_step % 256 == 0
    is_exact = is_row_exact and row_step // 256 * column_step % 65536 == 0
    lost_in_rows, lost = (0.5 * np.count_nonzero(taps.weights) / len(taps.first) for taps in (rows, columns))
    offset = (0 if is_exact else lost) + (0 if is_row_exact else lost_in_rows * whole / 65536)
    return Averages(rows, columns, 256 / whole, offset * 256 / whole)


def find_taps(size: int, shrunk: int, whole: int) -> Taps:
    """The neighbours that each sample of a shrunk axis covers, and their weights, whose sum is ``whole``."""
    start = np.arange(shrunk, dtype=np.int64)[:, None] * size  # of what it covers, in 1/shrunk sample
    first = start // shrunk
    num_taps = int(((start + size - 1) // shrunk - first).max()) + 1
    first = np.minimum(first, size - num_taps)
    edges = (first + np.arange(num_taps + 1)) * shrunk
    covered = np.clip(edges - start, 0, size)
    weights = np.diff((covered * 2 * whole + size) // (2 * size), axis=1)
    return Taps(first[:, 0].astype(np.int32), weights.astype(np.uint16))
