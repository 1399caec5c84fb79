"""In which frames of an avatar the mouth is replaced, and how strongly: frames without a face stay as they are."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.landmarks import FloatArray
from musetalk_cli.engine.avatar.mesh import OUTER_EYE_CORNERS

Flags = NDArray[np.bool_]

# A gap of this length is bridged where the head moves on steadily: a blurred frame, not a face that is gone.
MAX_BRIDGED_S = 0.12
# A face seen for a shorter time is left alone: a mouth that comes and goes at once shows more than one that does not
# speak.
MIN_SEEN_S = 0.24
# The mouth is faded in and out over this time, except at a cut.
FADE_S = 0.12
# How far a head's step over a gap may differ from its steps around it, in distances between the outer eye corners per
# frame, and its size on one side of the gap from that on the other.
MAX_UNSTEADINESS = 0.06
MAX_GROWTH = 1.15
_STEADY_FRAMES = 3


class Area(NamedTuple):
    """The part of every frame that shows an image and not bars: edges in pixels, right and bottom exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    @classmethod
    def whole(cls, width: int, height: int) -> Area:
        return cls(0, 0, width, height)


class Visibility(NamedTuple):
    """What of an avatar's n frames may be changed.

    ``opacity`` float32 (n,) 0..1: how much of a new mouth shows; 0 leaves the frame as it is. ``is_cut`` bool (n,): a
    new shot begins here. ``area``: nothing outside it is changed.
    """

    opacity: FloatArray
    is_cut: Flags
    area: Area

    @classmethod
    def of_arrays(cls, arrays: dict[str, NDArray[Any]], size: tuple[int, int], frame_rate: float | None) -> Visibility:
        """What an avatar's file says.

        Args:
            arrays: ``points`` and ``is_found``, and those of ``as_arrays``, which avatars of earlier versions lack.
            size: width and height of the frames.
            frame_rate: frames per second; None for a still.

        Raises:
            ValueError: the arrays do not fit each other.
        """
        points, is_found = arrays["points"], arrays["is_found"]
        count = len(points)
        if is_found.shape != (count,) or is_found.dtype != np.bool_:
            raise ValueError("is_found")
        if frame_rate is None:
            opacity, is_cut = np.ones(count, np.float32), np.arange(count) == 0
        elif "opacity" in arrays:
            opacity, is_cut = arrays["opacity"], arrays["is_cut"]
        else:
            is_cut = np.arange(count) == 0
            opacity = mouth_opacity(is_found, is_cut, np.ones(count, np.bool_), points, frame_rate)
        if opacity.shape != (count,) or opacity.dtype != np.float32 or not ((opacity >= 0) & (opacity <= 1)).all():
            raise ValueError("opacity")
        if is_cut.shape != (count,) or is_cut.dtype != np.bool_:
            raise ValueError("is_cut")
        edges = arrays.get("area", np.array(Area.whole(*size)))
        if edges.shape != (4,) or edges.dtype.kind not in "iu":
            raise ValueError("area")
        area = Area(*map(int, edges))
        if not (0 <= area.left < area.right <= size[0] and 0 <= area.top < area.bottom <= size[1]):
            raise ValueError("area")
        return cls(opacity, is_cut, area)

    def as_arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays that are stored."""
        area = np.array([self.area.left, self.area.top, self.area.right, self.area.bottom], np.int32)
        return {"opacity": self.opacity, "is_cut": self.is_cut, "area": area}

    def scaled(self, factors: NDArray[np.floating]) -> Visibility:
        """The same for frames resized by ``factors`` (x, y); a pixel that is half outside the area is outside."""
        left, top = (
            int(np.ceil(edge * f - 1e-6)) for edge, f in zip((self.area.left, self.area.top), factors, strict=True)
        )
        right, bottom = (
            int(np.floor(edge * f + 1e-6)) for edge, f in zip((self.area.right, self.area.bottom), factors, strict=True)
        )
        return Visibility(self.opacity, self.is_cut, Area(left, top, max(right, left + 1), max(bottom, top + 1)))


def mouth_opacity(is_found: Flags, is_cut: Flags, is_alike: Flags, points: FloatArray, frame_rate: float) -> FloatArray:
    """How much of a new mouth shows in each frame, float32 (n,) 0..1.

    Args:
        is_found: bool (n,): the frame has a usable face of its own.
        is_cut: bool (n,): a new shot begins here.
        is_alike: bool (n,): where no face was found, the image still looks as it did where the face was.
        points: float32 (n, 468, 2), pixels; only those of frames with a face are read.
        frame_rate: frames per second.

    Returns:
        0 for frames without a face, 1 for those with one, less next to a face that is lost or found within a shot.
    """
    count = len(is_found)
    is_shown = is_found | _bridged(is_found, is_cut, is_alike, points, frame_rate)
    opacity = np.zeros(count, np.float32)
    fade = max(1, round(FADE_S * frame_rate))
    for span in runs_of(is_shown):
        if _is_brief(slice(*span), count, frame_rate):
            is_shown[slice(*span)] = False
    for shot in shots_of(is_cut):
        for first, last in runs_of(is_shown[shot]):
            run = slice(shot.start + first, shot.start + last)
            at = np.arange(run.stop - run.start)
            from_start = at if run.start > shot.start else np.full(len(at), fade)
            from_end = at[::-1] if run.stop < shot.stop else np.full(len(at), fade)
            opacity[run] = np.minimum(1, (np.minimum(from_start, from_end) + 1) / (fade + 1))
    return opacity


def shots_of(is_cut: Flags) -> list[slice]:
    """The frames of each shot."""
    starts = [0, *(int(i) for i in np.flatnonzero(is_cut) if i > 0), len(is_cut)]
    return [slice(first, last) for first, last in pairwise(starts)]


def runs_of(flags: Flags) -> list[tuple[int, int]]:
    """Runs of true values: first index, and the one behind the last."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(first), int(last)) for first, last in edges.reshape(-1, 2)]


def _is_brief(run: slice, count: int, frame_rate: float) -> bool:
    """Whether a face is seen too shortly. A video is played forward and back, so a run at its end is seen twice."""
    if run.start == 0 and run.stop == count:
        return False
    length = run.stop - run.start
    length += length - 1 if run.start == 0 or run.stop == count else 0
    return bool(length < round(MIN_SEEN_S * frame_rate))


def _bridged(is_found: Flags, is_cut: Flags, is_alike: Flags, points: FloatArray, frame_rate: float) -> Flags:
    """Frames of short gaps over which the head moves on as before."""
    longest, bridged = max(1, round(MAX_BRIDGED_S * frame_rate)), np.zeros(len(is_found), np.bool_)
    for shot in shots_of(is_cut):
        found = is_found[shot]
        for first, last in runs_of(~found):
            gap = slice(shot.start + first, shot.start + last)
            is_inside = first > 0 and last < len(found)
            if is_inside and last - first <= longest and is_alike[gap].all():
                bridged[gap] = _is_steady(points, is_found, gap, shot)
    return bridged


def _is_steady(points: FloatArray, is_found: Flags, gap: slice, shot: slice) -> bool:
    """Whether a head moves over a gap as it does on both sides of it, and keeps its size."""
    before, after = gap.start - 1, gap.stop
    left, right = OUTER_EYE_CORNERS

    def eyes(frame: int) -> float:
        return max(float(np.linalg.norm(points[frame, right] - points[frame, left])), 1e-6)

    def step(first: int, last: int) -> NDArray[np.float64]:
        return np.asarray((points[last].mean(axis=0) - points[first].mean(axis=0)) / max(last - first, 1), np.float64)

    start, stop = before, after
    while start > shot.start and before - start < _STEADY_FRAMES and is_found[start - 1]:
        start -= 1
    while stop + 1 < shot.stop and stop - after < _STEADY_FRAMES and is_found[stop + 1]:
        stop += 1
    around = [step(*span) for span in ((start, before), (after, stop)) if span[0] < span[1]]
    usual = np.mean(around, axis=0) if around else np.zeros(2)
    size = eyes(before)
    growth = max(eyes(after) / size, size / eyes(after))
    unsteadiness = float(np.linalg.norm(step(before, after) - usual))
    return unsteadiness <= MAX_UNSTEADINESS * size and bool(growth <= MAX_GROWTH)
