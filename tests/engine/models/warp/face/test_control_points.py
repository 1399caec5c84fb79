"""How lips and chin move to close an image's own mouth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fixtures.drawn_face import CENTRE, draw_face
from musetalk_cli.engine.avatar.landmarks import Landmarks
from musetalk_cli.engine.models.warp.face.control_points import COMPONENTS, shared_points
from musetalk_cli.engine.models.warp.face.displacement_fields import compute_fields
from musetalk_cli.engine.models.warp.face.geometry import MouthAxes, transform_points
from musetalk_cli.engine.models.warp.face.lip_contours import LipClosure
from musetalk_cli.engine.models.warp.face.mouth_pose import MouthPose


def open_face(gap: float, width: float = 1.0) -> MouthPose:
    """A face with its lips ``gap`` mouth widths apart, and ``width`` times as wide as at rest."""
    face = draw_face(own_gap=gap)[1]
    lips = {name: points for name, points in vars(face).items() if name.endswith("_lip")}
    centre = np.float32(CENTRE)
    wide = {name: (points - centre) * np.float32([width, 1]) + centre for name, points in lips.items()}
    return MouthPose.of_still(replace(face, **wide))


def chin_rise(pose: MouthPose) -> float:
    """How far the lowest point of the chin moves up when the mouth closes, mouth units."""
    points = shared_points(pose, LipClosure.of(pose.face, pose.rest, pose.axes))
    chin = int(np.argmin(np.abs(points.position - lowest(pose.face, pose)).sum(axis=1)))
    return -float(points.motion[COMPONENTS.index("close"), chin, 1])


def lowest(face: Landmarks, pose: MouthPose) -> np.ndarray:
    matrix = pose.axes.from_image
    return matrix[:, :2] @ face.oval[18] + matrix[:, 2]


def test_a_smile_closes_with_the_lips_and_hardly_with_the_jaw() -> None:
    assert chin_rise(open_face(0.3)) > 0.14
    assert 0.01 < chin_rise(open_face(0.3, width=1.4)) < 0.09


@pytest.mark.parametrize("gap", [0.25, 0.4])
def test_both_lips_close_a_wide_gap(gap: float) -> None:
    pose = open_face(gap)
    lips = LipClosure.of(pose.face, pose.rest, pose.axes).own
    middle = len(lips.x) // 2
    share = (lips.closed[middle] - lips.upper[middle]) / (lips.lower[middle] - lips.upper[middle])
    assert 0.24 < share < 0.75


def test_closing_lips_push_nothing_over_a_turned_heads_far_cheek() -> None:
    face = draw_face(own_gap=0.2)[1]
    near, far = np.float32([0.8, 1]), np.float32(CENTRE)
    turned = replace(face, oval=(face.oval - far) * np.where(face.oval[:, :1] > far[0], near * [0.5, 1], 1) + far)
    wider = {n: (p - far) * np.float32([1.3, 1]) + far for n, p in vars(turned).items() if n.endswith("_lip")}
    pose = MouthPose(turned, replace(turned, **wider), MouthAxes.of(turned))
    x, y = np.meshgrid(np.linspace(-1.5, 1.5, 55), np.linspace(-1.1, 2.0, 57))
    nodes = np.dstack([x, y]).astype(np.float32)
    close = compute_fields(pose, LipClosure.of(pose.face, pose.rest, pose.axes), nodes)[COMPONENTS.index("close")]
    oval = transform_points(pose.axes.from_image, turned.oval)
    beside = (x > oval[:, 0].max()) & (np.abs(y) < 0.3)
    assert np.abs(close[:, beside, 0]).max() < 0.002
    assert close[:, np.abs(x - 0.45) < 0.1, 0].max() > 0.02
