"""Landmarks of a video avatar, one set a frame → its mouth's pose in each frame: axes, and the mouth at rest.

The head is tracked by the points that speech does not move. In the head's own coordinates, what the mouth does within
a second is speech; what changes more slowly comes from the head's turning. The average over time, weighted towards
frames with closed lips, is the mouth at rest. While a mouth stays open for long, it is taken from the whole shot.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.landmarks import NUM_POINTS, Landmarks
from musetalk_cli.engine.avatar.mesh import GROUPS
from musetalk_cli.engine.avatar.visibility import FADE_S, shots_of
from musetalk_cli.engine.models.warp.face.geometry import EYES_PER_MOUTH, FloatArray, MouthAxes, smoothstep
from musetalk_cli.engine.models.warp.face.mouth_pose import MouthPose

_SMOOTHING_S = 0.5  # standard deviation of the Gaussian average over time
_CLOSED_GAP = 0.04  # mouth widths; a frame weighs exp(-gap / this) in the average, and _MIN_WEIGHT at least
_MIN_WEIGHT = 0.02
# By how much the average over time is more open than the whole shot's where the second begins to replace it, and where
# it has replaced it; mouth widths.
_OPEN_FOR_LONG = (0.05, 0.12)
_LARGEST_GAP = 0.6  # mouth widths; a mouth that stays open further is left alone. Shouts have 0.5 at most.
_UNSEEN_WEIGHT = 1e-6  # of a frame that does not show its landmarks' face
_MIN_CUT_MOTION = 0.35  # eye distances; a head that moves further from one frame to the next is in a new shot
_LIPS = ("outer_upper_lip", "outer_lower_lip", "inner_upper_lip", "inner_lower_lip")
_JAW_LINE = slice(10, 27)  # of the oval

ComplexArray = NDArray[np.complex128]


class MouthTrack:
    """The poses of all frames of a video; immutable.

    ``shown`` float32 (n, 131, 2): all landmarks of each frame, pixels; ``rest``: those of its head with the mouth at
    rest. ``axes`` float64 (n, 5): the mouth's; origin, x axis, and the pixels of a mouth unit. ``gaps`` float64 (n,):
    mean distance between the inner lips in every frame, mouth widths. ``opacity`` float32 (n,) 0..1: less than 1 where
    the mouth is open too far to be closed believably.
    """

    def __init__(
        self,
        faces: Sequence[Landmarks],
        frame_rate: float,
        mesh: FloatArray | None = None,
        *,
        is_seen: NDArray[np.bool_] | None = None,
        is_cut: NDArray[np.bool_] | None = None,
    ) -> None:
        """Average the mouth over time.

        Args:
            faces: The smoothed landmarks of each frame, pixels.
            frame_rate: Frames per second.
            mesh: float32 (n, 468, 2): the face mesh that the landmarks are points of, if loaded; reading it is faster.
            is_seen: bool (n,): the frame shows the face that its landmarks are of; None for all.
            is_cut: bool (n,): a shot begins here; None where that is not known.
        """
        points = _as_complex(_stack(faces) if mesh is None else mesh[:, _mesh_indices()])
        shots = _shots(points, is_cut)
        weights = np.ones(len(points)) if is_seen is None else np.where(is_seen, 1.0, _UNSEEN_WEIGHT)
        similarity, origin = _head_similarity(points, shots, weights)
        normalised = (points - origin[:, None]) / similarity[:, None]
        speech = _speech_points()
        at_rest = np.empty((len(faces), len(speech)), dtype=np.complex128)
        self.gaps = _gaps(normalised)
        weights = weights * (np.exp(-self.gaps / _CLOSED_GAP) + _MIN_WEIGHT)
        for shot in shots:
            at_rest[shot] = _mouth_at_rest(
                normalised[shot][:, speech], self.gaps[shot], weights[shot], _SMOOTHING_S * frame_rate
            )
        self.opacity = np.ones(len(faces), np.float32)
        for shot in shots:
            self.opacity[shot] -= _too_far_open(self.gaps[shot], frame_rate)
        self.shown = _as_points(points)
        points[:, speech] = at_rest * similarity[:, None] + origin[:, None]
        self.rest = _as_points(points)
        corners = [speech.index(_offset("outer_upper_lip") + k) for k in (0, NUM_POINTS["outer_upper_lip"] - 1)]
        self.axes = _axes(at_rest[:, corners].mean(axis=1) * similarity + origin, similarity)

    def __len__(self) -> int:
        return len(self.shown)

    @property
    def unit_px(self) -> float:
        """Typical width of the mouth, pixels."""
        return float(np.median(self.axes[:, 4]))

    def pose(self, index: int) -> MouthPose:
        """The pose in one frame."""
        shown, rest = (Landmarks.of_stacked(points[index]) for points in (self.shown, self.rest))
        (x, y, along_x, along_y, unit_px) = self.axes[index].tolist()
        origin, x_axis = (np.array(each, np.float32) for each in ((x, y), (along_x, along_y)))
        return MouthPose(shown, rest, MouthAxes(origin, x_axis, unit_px))


def _axes(middle: ComplexArray, similarity: ComplexArray) -> NDArray[np.float64]:
    length = np.maximum(np.abs(similarity), 1e-6)
    along = _as_points(similarity) / length.astype(np.float32)[:, None]
    return np.column_stack([_as_points(middle), along, np.maximum(length, 1.0)])


def _head_similarity(
    points: ComplexArray, shots: list[slice], weights: NDArray[np.float64]
) -> tuple[ComplexArray, ComplexArray]:
    """The head's similarity transform in every frame, complex (n,) each: rotation times scale, and origin in pixels.

    The scale is a mouth width in pixels. Rotation and scale are fitted by least squares to eye corners and nose, whose
    shape is the mean of the shot's frames with ``weights`` (n,): another shot may show another person. The
    origin is the base of the nose: of the rigid points it is the nearest to the mouth, so a nod moves both alike.
    """
    rigid = points[:, _rigid_points()]
    middle = rigid.mean(axis=1)
    eyes = (
        points[:, _offset("right_upper_lid") + NUM_POINTS["right_upper_lid"] - 1] - points[:, _offset("left_upper_lid")]
    )
    similarity = eyes / EYES_PER_MOUTH
    own = (rigid - middle[:, None]) / similarity[:, None]
    for shot in shots:
        shape = np.average(own[shot], axis=0, weights=weights[shot])
        scale = max(float((np.abs(shape) ** 2).sum()), 1e-9)
        similarity[shot] = (rigid[shot] - middle[shot, None]) @ shape.conj() / scale
    base = points[:, [_offset("nose") + k for k in (2, 3, 4)]].mean(axis=1)
    return similarity, base


def _mouth_at_rest(
    speech: ComplexArray, gaps: NDArray[np.float64], weights: NDArray[np.float64], sigma: float
) -> ComplexArray:
    """The speech points (n, p) of one shot with the mouth at rest, in the head's coordinates.

    Where the average over time leaves the lips open, but they come closer elsewhere in the shot, it is mixed with the
    average of the whole shot.
    """
    local = _average(np.column_stack([speech, gaps]), weights, sigma)
    whole = np.average(speech, axis=0, weights=weights)
    excess = local[:, -1].real - np.average(gaps, weights=weights)
    share = smoothstep(excess, *_OPEN_FOR_LONG).astype(np.float64)[:, None]
    return np.asarray(local[:, :-1] + share * (whole - local[:, :-1]), dtype=np.complex128)


def _too_far_open(gaps: NDArray[np.float64], frame_rate: float) -> FloatArray:
    """How far the frames of one shot are left alone, (n,) 0..1: 1 where the mouth is open too far, with fades."""
    fade = FADE_S * frame_rate
    is_far = _average(gaps.astype(np.complex128)[:, None], np.ones(len(gaps)), fade / 2)[:, 0].real > _LARGEST_GAP
    if not is_far.any():
        return np.zeros(len(gaps), np.float32)
    reach = 2 * int(np.ceil(fade)) + 1
    around = np.convolve(np.pad(is_far, reach // 2, "edge"), np.ones(reach), "valid") > 0.5
    share = _average(around.astype(np.complex128)[:, None], np.ones(len(gaps)), fade / 3)[:, 0].real
    return smoothstep(share, 0.02, 0.98)


def _average(values: ComplexArray, weights: NDArray[np.float64], sigma: float) -> ComplexArray:
    """Gaussian average with weights (n,) along the rows of (n, p); ``sigma`` in rows; mirrored beyond the ends."""
    weighted = values * weights[:, None]
    stacked = np.column_stack([weighted.real, weighted.imag, weights])
    size = 2 * int(np.ceil(3 * sigma)) + 1
    kernel = cv2.getGaussianKernel(size, max(sigma, 1e-3))
    blurred = cv2.sepFilter2D(stacked, cv2.CV_64F, np.ones(1), kernel, borderType=cv2.BORDER_REFLECT_101)
    blurred = np.asarray(blurred).reshape(stacked.shape)
    count = values.shape[1]
    average = (blurred[:, :count] + 1j * blurred[:, count:-1]) / blurred[:, -1:]
    return np.asarray(average, dtype=np.complex128)


def _gaps(normalised: ComplexArray) -> NDArray[np.float64]:
    """Mean distance between the inner lips, mouth widths."""
    upper, lower = (
        normalised[:, _offset(name) : _offset(name) + NUM_POINTS[name]]
        for name in ("inner_upper_lip", "inner_lower_lip")
    )
    return np.asarray(np.abs(lower - upper)[:, 2:-2].mean(axis=1), dtype=np.float64)


def _shots(points: ComplexArray, is_cut: NDArray[np.bool_] | None) -> list[slice]:
    """Ranges of frames between two cuts: the known ones, or else those that show in the points."""
    if is_cut is not None:
        return shots_of(is_cut)
    eyes = points[:, _rigid_points()[:4]]
    size = np.abs(eyes[:, 3] - eyes[:, 0])
    jump = np.abs(np.diff(eyes.mean(axis=1))) / np.maximum(size[1:], 1e-6)
    cuts = [0, *(np.flatnonzero(jump > _MIN_CUT_MOTION) + 1).tolist(), len(points)]
    return [slice(start, stop) for start, stop in pairwise(cuts)]


def _rigid_points() -> list[int]:
    """Indices of the points that speech does not move: the eyes' corners from left to right, then the nose."""
    corners = [
        _offset(name) + k * (NUM_POINTS[name] - 1) for name in ("left_upper_lid", "right_upper_lid") for k in (0, 1)
    ]
    return [*corners, *(_offset("nose") + k for k in (0, 2, 3, 4))]


def _speech_points() -> list[int]:
    """Indices of the points that speech moves: the lips and the jaw line."""
    lips = [_offset(name) + k for name in _LIPS for k in range(NUM_POINTS[name])]
    return [*lips, *(_offset("oval") + k for k in range(*_JAW_LINE.indices(NUM_POINTS["oval"])))]


def _offset(group: str) -> int:
    """Index of a group's first point among all points."""
    names = list(NUM_POINTS)
    return sum(NUM_POINTS[name] for name in names[: names.index(group)])


def _stack(faces: Sequence[Landmarks]) -> FloatArray:
    """All points of all faces, (n, 131, 2)."""
    return np.stack([face.stacked() for face in faces])


def _mesh_indices() -> list[int]:
    """Indices into the mesh of all landmarks, in their order."""
    return [index for name in NUM_POINTS for index in GROUPS[name]]


def _as_complex(points: FloatArray) -> ComplexArray:
    """Points (..., 2) as x + iy."""
    return points[..., 0].astype(np.float64) + 1j * points[..., 1]


def _as_points(points: ComplexArray) -> FloatArray:
    """The reverse of :func:`_as_complex`, float32 (..., 2)."""
    planes = np.empty((*points.shape, 2), np.float32)
    planes[..., 0], planes[..., 1] = points.real, points.imag
    return planes
