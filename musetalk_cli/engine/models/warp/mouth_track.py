"""A video's mouth from frame to frame: where its axes stand, and what it would look like if the person were silent.

The head is followed by points that speech does not move. Seen from there, what the mouth does within a second is
speech, and what it does more slowly comes from how the head is held: the slow part, taken mostly from the frames in
which the lips are shut, is the mouth at rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.landmarks import NUM_POINTS, Landmarks
from musetalk_cli.engine.avatar.mesh import GROUPS
from musetalk_cli.engine.models.warp.face.geometry import EYES_PER_MOUTH, FloatArray, MouthAxes
from musetalk_cli.engine.models.warp.face.pose import MouthPose

_SLOW_S = 0.5  # standard deviation of the average over time
_SHUT_GAP = 0.04  # mouth widths; a frame counts exp(-gap / this) towards the rest, and _LEAST_WEIGHT at least
_LEAST_WEIGHT = 0.02
_CUT = 0.35  # a move of the head between two frames by this many eye distances is a new shot
_LIPS = ("outer_upper_lip", "outer_lower_lip", "inner_upper_lip", "inner_lower_lip")
_JAW_LINE = slice(10, 27)  # of the oval

ComplexArray = NDArray[np.complex128]


class MouthTrack:
    """The poses of all frames of a video; immutable.

    ``gaps`` float64 (n,): mean distance between the inner lips in every frame, mouth widths.
    """

    def __init__(self, faces: Sequence[Landmarks], frame_rate: float, mesh: FloatArray | None = None) -> None:
        """``faces``: the landmarks of each frame in pixels, smoothed; ``frame_rate``: frames per second.

        ``mesh`` float32 (n, 468, 2): where the landmarks were taken from, when it is at hand; it is quicker to read.
        """
        self._faces = faces
        points = _as_complex(_stack(faces) if mesh is None else mesh[:, _mesh_indices()])
        turn, origin = _follow_head(points)
        seen = (points - origin[:, None]) / turn[:, None]
        moving = _moving_points()
        slow = np.empty((len(faces), len(moving)), dtype=np.complex128)
        self.gaps = _gaps(seen)
        weights = np.exp(-self.gaps / _SHUT_GAP) + _LEAST_WEIGHT
        for shot in _shots(points):
            slow[shot] = _average(seen[shot][:, moving], weights[shot], _SLOW_S * frame_rate)
        self._rest = points.copy()
        self._rest[:, moving] = slow * turn[:, None] + origin[:, None]
        corners = [moving.index(_offset("outer_upper_lip") + k) for k in (0, NUM_POINTS["outer_upper_lip"] - 1)]
        self._middle = slow[:, corners].mean(axis=1) * turn + origin
        self._turn = turn

    def __len__(self) -> int:
        return len(self._faces)

    @property
    def unit_px(self) -> float:
        """Typical width of the mouth, pixels."""
        return max(float(np.median(np.abs(self._turn))), 1.0)

    def pose(self, index: int) -> MouthPose:
        """The pose in one frame."""
        middle, turn = self._middle[index], self._turn[index]
        axes = MouthAxes(
            np.array([middle.real, middle.imag], dtype=np.float32),
            np.array([turn.real, turn.imag], dtype=np.float32) / np.float32(abs(turn)),
            max(float(abs(turn)), 1.0),
        )
        return MouthPose(self._faces[index], _as_landmarks(self._rest[index]), axes)


def _follow_head(points: ComplexArray) -> tuple[ComplexArray, ComplexArray]:
    """The head's similarity in every frame, (n,) each: turn · scale (a mouth width long), and where its origin lies.

    Turn and scale by least squares over eye corners and nose; the origin is the nose's base, the firm part that is
    nearest to the mouth, so that a nod moves both alike.
    """
    firm = points[:, _firm_points()]
    middle = firm.mean(axis=1)
    eyes = (
        points[:, _offset("right_upper_lid") + NUM_POINTS["right_upper_lid"] - 1] - points[:, _offset("left_upper_lid")]
    )
    turn = eyes / EYES_PER_MOUTH
    shape = ((firm - middle[:, None]) / turn[:, None]).mean(axis=0)
    turn = (firm - middle[:, None]) @ shape.conj() / max(float((np.abs(shape) ** 2).sum()), 1e-9)
    base = points[:, [_offset("nose") + k for k in (2, 3, 4)]].mean(axis=1)
    return turn, base


def _average(values: ComplexArray, weights: NDArray[np.float64], sigma: float) -> ComplexArray:
    """Weighted average over neighbouring rows of (n, p), a Gaussian of ``sigma`` rows; beyond the ends, mirrored."""
    weighted = values * weights[:, None]
    stacked = np.column_stack([weighted.real, weighted.imag, weights])
    size = 2 * int(np.ceil(3 * sigma)) + 1
    kernel = cv2.getGaussianKernel(size, max(sigma, 1e-3))
    blurred = cv2.sepFilter2D(stacked, cv2.CV_64F, np.ones(1), kernel, borderType=cv2.BORDER_REFLECT_101)
    blurred = np.asarray(blurred).reshape(stacked.shape)
    count = values.shape[1]
    average = (blurred[:, :count] + 1j * blurred[:, count:-1]) / blurred[:, -1:]
    return np.asarray(average, dtype=np.complex128)


def _gaps(seen: ComplexArray) -> NDArray[np.float64]:
    """Mean distance between the inner lips, mouth widths."""
    upper, lower = (
        seen[:, _offset(name) : _offset(name) + NUM_POINTS[name]] for name in ("inner_upper_lip", "inner_lower_lip")
    )
    return np.asarray(np.abs(lower - upper)[:, 2:-2].mean(axis=1), dtype=np.float64)


def _shots(points: ComplexArray) -> list[slice]:
    """Runs of frames without a cut."""
    eyes = points[:, _firm_points()[:4]]
    size = np.abs(eyes[:, 3] - eyes[:, 0])
    jump = np.abs(np.diff(eyes.mean(axis=1))) / np.maximum(size[1:], 1e-6)
    cuts = [0, *(np.flatnonzero(jump > _CUT) + 1).tolist(), len(points)]
    return [slice(start, stop) for start, stop in pairwise(cuts)]


def _firm_points() -> list[int]:
    """Indices of points that speech does not move: the eyes' corners from left to right, then the nose."""
    corners = [
        _offset(name) + k * (NUM_POINTS[name] - 1) for name in ("left_upper_lid", "right_upper_lid") for k in (0, 1)
    ]
    return [*corners, *(_offset("nose") + k for k in (0, 2, 3, 4))]


def _moving_points() -> list[int]:
    """Indices of points that speech moves: the lips and the jaw line."""
    lips = [_offset(name) + k for name in _LIPS for k in range(NUM_POINTS[name])]
    return [*lips, *(_offset("oval") + k for k in range(*_JAW_LINE.indices(NUM_POINTS["oval"])))]


def _offset(group: str) -> int:
    """Where a group begins among all points."""
    names = list(NUM_POINTS)
    return sum(NUM_POINTS[name] for name in names[: names.index(group)])


def _stack(faces: Sequence[Landmarks]) -> FloatArray:
    """All points of all faces, (n, 131, 2)."""
    return np.stack([np.concatenate([getattr(face, name) for name in NUM_POINTS]) for face in faces])


def _mesh_indices() -> list[int]:
    """Which points of the mesh the landmarks are, in their order."""
    return [index for name in NUM_POINTS for index in GROUPS[name]]


def _as_complex(points: FloatArray) -> ComplexArray:
    """Points (..., 2) as x + iy."""
    return points[..., 0].astype(np.float64) + 1j * points[..., 1]


def _as_landmarks(points: ComplexArray) -> Landmarks:
    plane: FloatArray = np.stack([points.real, points.imag], axis=-1).astype(np.float32)
    ends = np.cumsum(list(NUM_POINTS.values()))[:-1]
    return Landmarks(**dict(zip(NUM_POINTS, np.split(plane, ends), strict=True)))
