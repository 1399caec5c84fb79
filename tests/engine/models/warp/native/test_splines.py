"""Thin-plate splines in C, for one mouth shape at a time, against the fields that numpy and OpenCV compute of all."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from fixtures.drawn_video import moving_avatar
from fixtures.native_kernel import native_kernel
from musetalk_cli.engine.models.warp.face.control_points import COMPONENTS
from musetalk_cli.engine.models.warp.face.displacement_fields import MovingFields, compute_fields
from musetalk_cli.engine.models.warp.face.geometry import transform_points
from musetalk_cli.engine.models.warp.face.lip_contours import LipClosure
from musetalk_cli.engine.models.warp.face.mouth_pose import MouthPose
from musetalk_cli.engine.models.warp.native import library
from musetalk_cli.engine.models.warp.native.points import measure_mouth
from musetalk_cli.engine.models.warp.native.splines import NativeSplines, SplineNodes

UNITS = 1e-4  # a fiftieth of a pixel for a mouth of 200
ONES = np.eye(2, dtype=np.float32)


@pytest.fixture(autouse=True)
def kernel() -> Iterator[None]:
    with native_kernel():
        yield


def grid_of_nodes(rows: int, columns: int) -> NDArray[np.float32]:
    x, y = np.meshgrid(np.linspace(-1.6, 1.6, columns), np.linspace(-1.2, 2.1, rows))
    return np.dstack([x, y]).astype(np.float32)


@pytest.mark.parametrize("gap", [0.0, 0.4])
@pytest.mark.parametrize("rows, columns", [(57, 53), (1, 3), (2, 1), (9, 31)])
def test_the_weighted_sum_of_all_fields(gap: float, rows: int, columns: int) -> None:
    pose = MouthPose.of_still(moving_avatar([gap] * 3).landmarks[1])
    closure, nodes = LipClosure.of(pose.face, pose.rest, pose.axes), grid_of_nodes(rows, columns)
    nodes_px = transform_points(pose.axes.to_image, nodes)
    native = library.load()
    assert native is not None
    points = measure_mouth(native, *(transform_points(pose.axes.from_image, pose.face.stacked()) for _ in range(2)))
    moving, fields = MovingFields(points, pose, nodes_px, ONES), compute_fields(pose, closure, nodes)
    random = np.random.default_rng(1)
    for weights in [*np.eye(len(COMPONENTS)), random.uniform(0, 1, len(COMPONENTS))]:
        expected = np.tensordot(weights, fields, 1)
        made = moving.displace(weights.astype(np.float32))
        assert made.shape == expected.shape
        assert np.abs(made - expected).max() < UNITS


def test_points_that_determine_nothing_move_nothing() -> None:
    native = library.load()
    assert native is not None
    nodes = grid_of_nodes(4, 5)
    at = SplineNodes(nodes, np.eye(2, 3), ONES, (-9, 9, -9, 9), (0, 1), np.ones((4, 5), np.float32))
    splines = NativeSplines(native, np.zeros((2, 4, 2), np.float32), 1, at)
    solved = splines.solve(0, np.ones((4, 4), np.float32))
    assert solved.shape == (7, 4) and not solved.any()
    assert not splines.displace(solved, solved).any()
    with pytest.raises(ValueError, match="float32 array"):
        splines.displace(solved[:3], solved)
    with pytest.raises(ValueError, match="float32 array"):
        splines.solve(1, np.ones((5, 4), np.float32))
    with pytest.raises(ValueError, match="cannot be shared"):
        NativeSplines(native, np.zeros((2, 4, 2), np.float32), 5, at)
