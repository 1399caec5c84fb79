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
from musetalk_cli.engine.models.warp.native.points import NUM_LANDMARKS, MouthPoints, measure_mouth
from musetalk_cli.engine.models.warp.native.splines import NativeSplines, SplineNodes

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
    face = transform_points(units, pose.face.stacked())
    moving = MovingFields(measure_mouth(native, face, face), pose, nodes_px, cell_px)
    random = np.random.default_rng(1)
    for weights in [*np.eye(len(COMPONENTS)), random.uniform(0, 1, len(COMPONENTS))]:
        expected = np.tensordot(weights, fields, 1)
        made = moving.displace(weights.astype(np.float32)) @ (cell_px * units[:, :2].T)
        assert made.shape == expected.shape
        away = np.abs(made - expected)
        assert away.max() < MOST_UNITS and away.mean() < MEAN_UNITS


def test_points_that_determine_nothing_move_nothing() -> None:
    native, parts = library.load(), np.ones((4, 4), np.float32)
    assert native is not None
    at = SplineNodes((0.0, 0.0), 1.0, np.eye(2, 3), (-9, 9, -9, 9), (0, 1), np.full((4, 5), 255, np.uint8))
    lips = measure_mouth(native, *np.zeros((2, NUM_LANDMARKS, 2), np.float32)).own
    points = MouthPoints(native, lips, lips, np.zeros((2, 4, 2), np.float32), np.ones((2, 4, 4), np.float32))
    splines = NativeSplines(points, parts, at, num_shared=1)
    assert splines.solved.shape == (2, 7, 4) and not splines.solved.any()
    assert not splines.displace(np.ones(2, np.float32)).any()
    with pytest.raises(ValueError, match="float32 array"):
        splines.displace(np.ones(3, np.float32))
    with pytest.raises(ValueError, match="float32 array"):
        NativeSplines(points, parts[:3], at, num_shared=1)
    with pytest.raises(ValueError, match="cannot be shared"):
        NativeSplines(points, parts, at, num_shared=5)
