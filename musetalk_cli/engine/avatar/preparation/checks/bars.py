"""Bars along a frame's edges (letterbox, pillarbox, padding): what they cover is not there to be seen or changed."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.preparation.checks.medians import median
from musetalk_cli.engine.avatar.visibility import Area
from musetalk_cli.engine.types.planar_frame import PlanarFrame, SearchedImage

# Levels of 255 by which a bar's pixels differ from each other, compression included.
MAX_SPREAD = 14
# The share of the first line behind a bar that differs from it: a bar ends along its whole length, a plain backdrop
# does not end there.
LEAST_EDGE = 0.5
# So many pixels of a line are read, evenly spread.
NUM_READ = 96


def image_area(image: SearchedImage) -> Area:
    """The part of an image within its bars; the whole image where it has none, or is nothing but one colour."""
    height, width = image.shape[:2]
    levels = image.luma if isinstance(image, PlanarFrame) else image[:, :, 1]
    # Copied once: the columns that are read lie far apart.
    top, bottom = _bars(np.ascontiguousarray(levels[:, :: max(1, width // NUM_READ)]))
    left, right = _bars(np.ascontiguousarray(levels[:: max(1, height // NUM_READ)]).T)
    if top + bottom >= height or left + right >= width:
        return Area.whole(width, height)
    return Area(left, top, width - right, height - bottom)


def common_area(areas: Iterable[Area], width: int, height: int) -> Area:
    """What lies within the bars in any of a video's frames; the whole frame where there are none."""
    every = np.array([[area.left, area.top, area.right, area.bottom] for area in areas]).reshape(-1, 4)
    if not len(every):
        return Area.whole(width, height)
    first, last = every[:, :2].min(axis=0), every[:, 2:].max(axis=0)
    return Area(int(first[0]), int(first[1]), int(last[0]), int(last[1]))


def _bars(lines: NDArray[np.uint8]) -> tuple[int, int]:
    """How many of the first and of the last rows are one flat bar."""
    least, most = (each.astype(int) for each in (lines.min(axis=1), lines.max(axis=1)))
    return _bar(lines, least, most), _bar(lines[::-1], least[::-1], most[::-1])


def _bar(lines: NDArray[np.uint8], least: NDArray[np.int_], most: NDArray[np.int_]) -> int:
    """The length of the bar that begins with the first row, 0 for none."""
    low, high = np.minimum.accumulate(least), np.maximum.accumulate(most)
    is_flat = high - low <= MAX_SPREAD
    length = len(lines) if is_flat.all() else int(np.argmin(is_flat))
    if length in (0, len(lines)):
        return length
    # Scaling and compression blur a bar's end over a row or two.
    behind = lines[min(length + 2, len(lines) - 1)].astype(int)
    differs = np.abs(behind - int(median(lines[0]))) > MAX_SPREAD
    return length if differs.mean() >= LEAST_EDGE else 0
