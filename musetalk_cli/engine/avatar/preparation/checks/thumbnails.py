"""What a face looks like from afar: whether it is still the same, and where a dissolve or a fade hides part of it."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.landmarks import FloatArray
from musetalk_cli.engine.avatar.visibility import runs_of, shots_of
from musetalk_cli.engine.types.colour import ByteArray, as_bytes
from musetalk_cli.engine.types.planar_frame import Plane, SearchedImage, sample_bgr

THUMBNAIL_PX = 16
MAX_READ_PX = 48  # a larger square is thinned out to about this before it is averaged
# A fade reaches down to this share of a face as it is further inside, and ends at the other.
FADED_SHARE, LEAST_SHARE = 0.7, 0.85
# It takes no longer than this; what changes more slowly is the light or the pose.
MAX_FADE_FRAMES = 30


def thumbnail(image: SearchedImage, centre: tuple[float, float], side_px: float) -> FloatArray:
    """A square of an image in grey, float32 (16, 16), of mean 0."""
    middle, size = np.array(centre), np.array(image.shape[1::-1])
    low = np.clip(np.floor(middle - side_px / 2), 0, size - 1).astype(int)
    high = np.clip(np.ceil(middle + side_px / 2), low + 1, size).astype(int)

    def read(plane: Plane) -> ByteArray:
        first, last = (low * plane.scale).astype(int), np.ceil(high * plane.scale).astype(int)
        step = max(1, int((last - first).min()) // MAX_READ_PX)
        part = plane.pixels[first[1] : last[1] : step, first[0] : last[0] : step]
        return as_bytes(cv2.resize(part, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA))

    grey = sample_bgr(image, read).astype(np.float32).mean(axis=2)
    return np.asarray(grey - grey.mean(), np.float32)


def likeness(one: FloatArray, other: FloatArray) -> float:
    """Correlation of two thumbnails, -1..1."""
    lengths = float(np.linalg.norm(one)) * float(np.linalg.norm(other))
    return float((one * other).sum()) / max(lengths, 1e-6)


def faded_frames(thumbnails: Sequence[FloatArray | None], is_cut: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Frames, bool (n,), at either end of a face's appearance in which only part of it shows: in a dissolve together
    with another image, in a fade in the dark.

    ``thumbnails``: of the face in each frame, None where there is none.
    """
    faded = np.zeros(len(thumbnails), bool)
    is_seen = np.array([each is not None for each in thumbnails], bool)
    for shot in shots_of(is_cut):
        for first, last in runs_of(is_seen[shot]):
            start, stop = shot.start + first, shot.start + last
            run = [each for each in thumbnails[start:stop] if each is not None]
            faded[start : start + _fade_length(run, is_next_to_gap=start > shot.start)] = True
            faded[stop - _fade_length(run[::-1], is_next_to_gap=stop < shot.stop) : stop] = True
    return faded


def _fade_length(run: Sequence[FloatArray], *, is_next_to_gap: bool) -> int:
    """How many of the first thumbnails of a run are part of a fade.

    Next to a gap it counts how much of the face shows. Where a shot begins, a head may just be moving: there only a
    lower contrast is a fade.
    """
    reach = min(len(run), 2 * MAX_FADE_FRAMES)
    inside = np.mean(run[reach // 2 : reach], axis=0) if reach > 1 else run[0]
    strength = float((inside * inside).sum()) or 1.0
    if is_next_to_gap:
        share = np.array([float((each * inside).sum()) / strength for each in run[:reach]])
    else:
        share = np.array([float(np.linalg.norm(each)) / strength**0.5 for each in run[:reach]])
    is_whole = share >= LEAST_SHARE
    length = int(np.argmax(is_whole)) if is_whole.any() else 0
    return length if share[0] <= FADED_SHARE and length <= MAX_FADE_FRAMES else 0
