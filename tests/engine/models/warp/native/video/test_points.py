"""Lips' lines and control points in C, against those that numpy measures."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from fixtures.drawn_video import moving_avatar
from fixtures.native_kernel import native_kernel
from fixtures.native_points import (
    NUM_COMPONENTS,
    NUM_LINE_POINTS,
    NUM_POINTS,
    NUM_SHARED,
    FrameAxes,
    MouthPoints,
    lip_lines,
    measure_mouth,
)
from musetalk_cli.engine.models.warp.face.control_points import ControlPoints, lip_points, shared_points
from musetalk_cli.engine.models.warp.face.lip_contours import LipClosure, lip_heights
from musetalk_cli.engine.models.warp.face.mouth_pose import MouthPose
from musetalk_cli.engine.models.warp.mouth_track import MouthTrack
from musetalk_cli.engine.native import library

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
    axes = pose.axes
    corner = (40.0, 62.0)  # of a region: lips are measured in units, wherever it lies
    frame_axes = FrameAxes(axes.origin_px.tolist(), axes.x_axis.tolist(), axes.unit_px, corner)
    return measure_mouth(native, pose.face.stacked(), pose.rest.stacked(), frame_axes)


def test_the_lines_of_lips() -> None:
    for pose in poses():
        points, closure = measured(pose), LipClosure.of(pose.face, pose.rest, pose.axes)
        for values_of_lines, expected in zip(points.lines, (closure.own, closure.rest), strict=True):
            lines = lip_lines(values_of_lines)
            for name, values in vars(expected).items():
                assert np.abs(getattr(lines, name) - values).max() < UNITS, name
            assert lines.x.shape == (NUM_LINE_POINTS,)


def test_what_a_mouth_is_drawn_with() -> None:
    for pose in poses():
        points, closure = measured(pose), LipClosure.of(pose.face, pose.rest, pose.axes)
        own, numbers = closure.own, points.numbers
        step = (own.x[-1] - own.x[0]) / (len(own.x) - 1)
        expected = [own.x[0], step, own.middle, own.half_width, own.own_gap, pose.yaw]
        expected += [*lip_heights(pose.face, pose.axes), *closure.seam_middle, closure.lower_lip_drop]
        assert np.abs(np.array(numbers) - expected).max() < UNITS
        moved = pose.moved(np.array([-40, -62], np.float32)).axes
        assert np.abs(points.to_units - moved.from_image).max() < UNITS


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
    assert np.abs(lip_lines(points.lines[0]).upper - closure.own.upper).max() < UNITS
    expected = shared_points(pose, closure)
    motion = points.motion[0, :NUM_SHARED].reshape(NUM_SHARED, NUM_COMPONENTS, 2)
    assert np.abs(motion.transpose(1, 0, 2) - expected.motion).max() < UNITS


def test_other_numbers_of_landmarks_are_refused() -> None:
    native, face = library.load(), np.zeros((130, 2), np.float32)
    assert native is not None
    with pytest.raises(ValueError, match="131"):
        measure_mouth(native, face, face, FrameAxes((0, 0), (1, 0), 1, (0, 0)))
