"""Thin-plate splines in C, for one mouth shape at a time, against the fields that numpy and OpenCV compute of all."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from fixtures.drawn_video import moving_avatar
from fixtures.native_kernel import native_kernel
from musetalk_cli.engine.models.warp.face.control_points import COMPONENTS
from musetalk_cli.engine.models.warp.face.displacement_fields import (
    FADE,
    REACH,
    component_parts,
    compute_fields,
    inside_face,
)
from musetalk_cli.engine.models.warp.face.geometry import transform_points
from musetalk_cli.engine.models.warp.face.lip_contours import LipClosure
from musetalk_cli.engine.models.warp.face.mouth_pose import MouthPose
from musetalk_cli.engine.models.warp.native import library
from musetalk_cli.engine.models.warp.native.points import FrameAxes, MouthPoints, measure_mouth
from musetalk_cli.engine.models.warp.native.splines import NativeSplines, SplineNodes, fade_at_outline

# Between every second node, splines are interpolated. For a mouth of 100 pixels, a tenth of one between wide open lips,
# and less than a thousandth on average.
MOST_UNITS, MEAN_UNITS = 1e-3, 5e-6


@pytest.fixture(autouse=True)
def kernel() -> Iterator[None]:
    with native_kernel():
        yield


def grid_of_nodes(rows: int, columns: int, cell_px: float) -> NDArray[np.float32]:
    """Pixels of an image whose mouth is around (150, 210)."""
    x, y = np.meshgrid(30 + cell_px * np.arange(columns), 120 + cell_px * np.arange(rows))
    return np.dstack([x, y]).astype(np.float32)


def points_of(native: ctypes.CDLL, pose: MouthPose) -> MouthPoints:
    axes = FrameAxes(pose.axes.origin_px.tolist(), pose.axes.x_axis.tolist(), pose.axes.unit_px, (0.0, 0.0))
    return measure_mouth(native, pose.face.stacked(), pose.rest.stacked(), axes)


@pytest.mark.parametrize("gap", [0.0, 0.4])
@pytest.mark.parametrize(
    "rows, columns, cell_px", [(56, 59, 4.0), (82, 91, 2.7), (1, 3, 4.0), (2, 1, 4.0), (9, 31, 4.0)]
)
def test_the_weighted_sum_of_all_fields(gap: float, rows: int, columns: int, cell_px: float) -> None:
    pose = MouthPose.of_still(moving_avatar([gap] * 3).landmarks[1])
    nodes_px, units = grid_of_nodes(rows, columns, cell_px), pose.axes.from_image
    fields = compute_fields(pose, LipClosure.of(pose.face, pose.rest, pose.axes), transform_points(units, nodes_px))
    native = library.load()
    assert native is not None
    oval = transform_points(units, pose.face.oval)
    ends = transform_points(units, nodes_px[0, [0, -1]])
    inside = np.round(255 * inside_face(oval, ends, (rows, columns), pose.yaw)).astype(np.uint8)
    at = SplineNodes(nodes_px[0, 0].tolist(), cell_px, units, REACH, FADE, inside)
    moving = NativeSplines(points_of(native, pose), component_parts(), at)
    random = np.random.default_rng(1)
    for weights in [*np.eye(len(COMPONENTS)), random.uniform(0, 1, len(COMPONENTS))]:
        expected = np.tensordot(weights, fields, 1)
        made = moving.displace(weights.astype(np.float32)) @ (cell_px * units[:, :2].T)
        assert made.shape == expected.shape
        away = np.abs(made - expected)
        assert away.max() < MOST_UNITS and away.mean() < MEAN_UNITS


@pytest.mark.parametrize("yaw", [0.0, 0.2, -0.5])
@pytest.mark.parametrize("size, per_unit", [((56, 59), 25.0), ((82, 91), 37.0), ((2, 40), 18.0), ((30, 2), 2.0)])
def test_motion_fades_out_at_the_outline(size: tuple[int, int], per_unit: float, yaw: float) -> None:
    native, angles = library.load(), np.linspace(0, 2 * np.pi, 36, endpoint=False)
    assert native is not None
    middle = (np.array(size[::-1], np.float32) - 1) / 2
    oval = np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32) * middle * 0.9 + middle  # in nodes
    mask = np.zeros(size, np.uint8)
    cv2.fillPoly(mask, [np.round(oval * 16).astype(np.int32)], 1, cv2.LINE_8, 4)
    ends = np.array([[0, 0], [(size[1] - 1) / per_unit, 0]], np.float32)
    expected = 255 * inside_face(oval / np.float32(per_unit), ends, size, yaw)
    assert np.abs(fade_at_outline(native, mask, per_unit, yaw) - expected).max() < 0.51


def test_points_that_determine_nothing_move_nothing() -> None:
    native, parts = library.load(), np.ones((4, 4), np.float32)
    assert native is not None
    at = SplineNodes((0.0, 0.0), 1.0, np.eye(2, 3), (-9, 9, -9, 9), (0, 1), np.full((4, 5), 255, np.uint8))
    measured = points_of(native, MouthPose.of_still(moving_avatar([0.1] * 3).landmarks[1]))
    points = measured._replace(positions=np.zeros((2, 4, 2), np.float32), motion=np.ones((2, 4, 4), np.float32))
    splines = NativeSplines(points, parts, at, num_shared=1)
    assert splines.solved.shape == (2, 7, 4) and not splines.solved.any()
    assert not splines.displace(np.ones(2, np.float32)).any()
    with pytest.raises(ValueError, match="float32 array"):
        splines.displace(np.ones(3, np.float32))
    with pytest.raises(ValueError, match="float32 array"):
        NativeSplines(points, parts[:3], at, num_shared=1)
    with pytest.raises(ValueError, match="cannot be shared"):
        NativeSplines(points, parts, at, num_shared=5)
