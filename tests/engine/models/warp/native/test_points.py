"""Lips' lines and control points in C, against those that numpy measures."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from fixtures.drawn_video import moving_avatar
from fixtures.native_kernel import native_kernel
from musetalk_cli.engine.models.warp.face.control_points import ControlPoints, lip_points, shared_points
from musetalk_cli.engine.models.warp.face.geometry import transform_points
from musetalk_cli.engine.models.warp.face.lip_contours import LipClosure, LipContours
from musetalk_cli.engine.models.warp.face.mouth_pose import MouthPose
from musetalk_cli.engine.models.warp.mouth_track import MouthTrack
from musetalk_cli.engine.models.warp.native import library
from musetalk_cli.engine.models.warp.native.points import (
    NUM_COMPONENTS,
    NUM_LINE_POINTS,
    NUM_POINTS,
    NUM_SHARED,
    MouthPoints,
    measure_mouth,
)

UNITS = 2e-6  # rounding


@pytest.fixture(autouse=True)
def kernel() -> Iterator[None]:
    with native_kernel():
        yield


def poses() -> list[MouthPose]:
    """Of a head that turns, with lips from closed to wide open, and with others at rest."""
    gaps = [0.0, 0.004, 0.02, 0.08, 0.16, 0.3, 0.5, 0.0]
    track = MouthTrack(moving_avatar(gaps).landmarks, 25.0)
    return [track.pose(index) for index in range(len(gaps))]


def measured(pose: MouthPose) -> MouthPoints:
    native = library.load()
    assert native is not None
    faces = [transform_points(pose.axes.from_image, marks.stacked()) for marks in (pose.face, pose.rest)]
    return measure_mouth(native, faces[0], faces[1])


def test_the_lines_of_lips() -> None:
    for pose in poses():
        points, closure = measured(pose), LipClosure.of(pose.face, pose.rest, pose.axes)
        for lines, expected in ((points.own, closure.own), (points.rest, closure.rest)):
            for name, values in vars(expected).items():
                assert np.abs(getattr(lines, name) - values).max() < UNITS, name
            assert lines.x.shape == (NUM_LINE_POINTS,)


@pytest.mark.parametrize("is_lower", [False, True])
def test_the_control_points_and_their_motion(is_lower: bool) -> None:
    for pose in poses():
        closure, points = LipClosure.of(pose.face, pose.rest, pose.axes), measured(pose)
        shared = shared_points(pose, closure)
        expected = ControlPoints.joined([shared, lip_points(pose, closure, is_lower=is_lower)])
        assert points.positions.shape == (2, NUM_POINTS, 2) and len(shared.position) == NUM_SHARED
        assert np.abs(points.positions[int(is_lower)] - expected.position).max() < UNITS
        motion = points.motion[int(is_lower)].reshape(NUM_POINTS, NUM_COMPONENTS, 2)
        assert np.abs(motion.transpose(1, 0, 2) - expected.motion).max() < UNITS


def test_lips_that_step_back_and_jaws_that_are_too_far_away() -> None:
    pose = poses()[4]
    marks = [pose.face.stacked().copy(), pose.rest.stacked().copy()]
    marks[0][24, 0] = marks[0][26, 0] + 3  # of the inner upper lip
    marks[1][95:, 1] += 60  # the outline
    face, rest = (type(pose.face).of_stacked(points) for points in marks)
    pose = MouthPose(face, rest, pose.axes)
    closure, points = LipClosure.of(face, rest, pose.axes), measured(pose)
    assert np.abs(points.own.upper - closure.own.upper).max() < UNITS
    expected = shared_points(pose, closure)
    motion = points.motion[0, :NUM_SHARED].reshape(NUM_SHARED, NUM_COMPONENTS, 2)
    assert np.abs(motion.transpose(1, 0, 2) - expected.motion).max() < UNITS


def test_other_numbers_of_landmarks_are_refused() -> None:
    native, face = library.load(), np.zeros((130, 2), np.float32)
    assert native is not None
    with pytest.raises(ValueError, match="131"):
        measure_mouth(native, face, face)


def test_contours_of_lines_are_the_same_values() -> None:
    lines: NDArray[np.float32] = measured(poses()[4]).own.closed
    contours = LipContours.of_lines(measured(poses()[4]).own)
    assert np.array_equal(contours.closed, lines)
