"""Where one shot of a video ends and another begins: nothing may be followed or smoothed across that."""

from __future__ import annotations

from collections import deque
from enum import Enum

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.landmarks import FloatArray
from musetalk_cli.engine.types.colour import ByteArray, as_bytes
from musetalk_cli.engine.types.planar_frame import Plane, SearchedImage, sample_bgr

THUMBNAIL_PX = 24
# So many rows and columns of a large image are read for each of a thumbnail's, evenly spread.
READ_PX = 16
# Levels of 255 that a thumbnail's pixels change by on average, and how much more that is than in the frames before.
LEAST_CHANGE = 18.0
TIMES_USUAL = 4.0
NUM_USUAL = 8
# A cut between two images alike changes less, but still far more than anything before it.
LEAST_SUDDEN_CHANGE = 6.0
TIMES_USUAL_SUDDEN = 12.0
LEAST_USUAL = 0.3
LEAST_NUM_USUAL = 3
# A cut to another take of the same scene changes little but where the face is: in distances between the eyes.
LEAST_JUMP = 0.15
JUMP_TIMES_USUAL = 4.0
JUMP_REACH = 3


class Cut(Enum):
    """Whether a frame begins a shot; LIKELY where a sudden motion may have changed it as much."""

    NONE = 0
    LIKELY = 1
    CERTAIN = 2


class CutDetector:
    """Detects cuts; the first frame is one."""

    def __init__(self) -> None:
        self._last: FloatArray | None = None
        self._changes: deque[float] = deque(maxlen=NUM_USUAL)

    def judge(self, image: SearchedImage) -> Cut:
        thumbnail = sample_bgr(image, _small).astype(np.float32)
        # A flash or a fade changes all pixels alike.
        thumbnail -= thumbnail.mean()
        last, self._last = self._last, thumbnail
        if last is None:
            return Cut.CERTAIN
        change = float(np.abs(thumbnail - last).mean())
        usual = float(np.mean(self._changes)) if self._changes else 0.0
        is_known = len(self._changes) >= LEAST_NUM_USUAL
        is_sudden = is_known and change > max(LEAST_SUDDEN_CHANGE, TIMES_USUAL_SUDDEN * max(usual, LEAST_USUAL))
        is_large = change > LEAST_CHANGE and change > TIMES_USUAL * usual
        if is_large or is_sudden:
            self._changes.clear()
        else:
            self._changes.append(change)
        return Cut.CERTAIN if is_large else Cut.LIKELY if is_sudden else Cut.NONE


def _small(plane: Plane) -> ByteArray:
    height, width = (min(extent, round(THUMBNAIL_PX * READ_PX * plane.scale)) for extent in plane.pixels.shape[:2])
    read = cv2.resize(plane.pixels, (width, height), interpolation=cv2.INTER_NEAREST)
    return as_bytes(cv2.resize(read, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA))


def jumps(centres: FloatArray, eyes_px: FloatArray) -> NDArray[np.bool_]:
    """Frames to which a face has leapt: bool (n,), from its ``centres`` (n, 2) in pixels and its size (n,).

    A leap is a step much longer than those around it; even the quickest turn of a head takes several steps. Rows that
    are NaN (no face) neither leap nor count.
    """
    steps = np.zeros(len(centres))
    if len(centres) > 1:
        steps[1:] = np.linalg.norm(np.diff(centres, axis=0), axis=1) / eyes_px[1:]
    found = np.zeros(len(centres), dtype=bool)
    for i in np.flatnonzero(steps > LEAST_JUMP):
        around = np.concatenate([steps[max(1, i - JUMP_REACH) : i], steps[i + 1 : i + 1 + JUMP_REACH]])
        around = around[np.isfinite(around)]
        found[i] = bool(len(around)) and steps[i] > JUMP_TIMES_USUAL * around.max()
    return found
