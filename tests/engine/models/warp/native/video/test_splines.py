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
from fixtures.native_points import FrameAxes, MouthPoints, measure_mouth
from fixtures.native_splines import NativeSplines, SplineNodes, fade_at_outline
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
from musetalk_cli.engine.native import library

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
    "rows, columns, cell_px", [(56, 59, 4.0), (82, 91, 2.7), (1, 3, 4.0), (2, 1, 4.0), (9, 31, 4.0), (12, 16, 30.0)]
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


def points_with(positions: NDArray[np.float32], motion: NDArray[np.float32]) -> MouthPoints:
    native = library.load()
    assert native is not None
    measured = points_of(native, MouthPose.of_still(moving_avatar([0.1] * 3).landmarks[1]))
    return measured._replace(positions=positions, motion=motion)


def solve(positions: NDArray[np.float32], motion: NDArray[np.float32], num_shared: int) -> NDArray[np.float32]:
    """Coefficients of splines, (2, n + 3, k)."""
    at = SplineNodes((0.0, 0.0), 1.0, np.eye(2, 3, dtype=np.float32), REACH, FADE, np.full((2, 2), 255, np.uint8))
    parts = np.ones((motion.shape[2], 4), np.float32)
    return NativeSplines(points_with(positions, motion), parts, at, num_shared).solved


def random_points(num_shared: int, num_own: int, num_sides: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Positions and motion of both layers, apart from each other, and in no order."""
    random, count = np.random.default_rng(num_shared), num_shared + 2 * num_own
    grid = np.stack(np.meshgrid(np.linspace(-1.5, 1.5, 12), np.linspace(-1, 2, 12)), 2).reshape(-1, 2)
    places = random.permutation(grid)[:count] + random.uniform(-0.05, 0.05, (count, 2))
    motion = random.uniform(-0.3, 0.3, (count, num_sides))
    layers = [[*range(num_shared), *range(first, first + num_own)] for first in (num_shared, num_shared + num_own)]
    return places[layers].astype(np.float32), motion[layers].astype(np.float32)


def matrix_of(positions: NDArray[np.float32]) -> NDArray[np.float64]:
    """What the coefficients of one layer, (n + 3, k), are multiplied by to give its points' motion, and three zeros."""
    points = positions.astype(np.float64)
    squared = ((points[:, None] - points) ** 2).sum(2) + 1e-12
    affine = np.column_stack([np.ones(len(points)), points])
    kernel = squared * np.log(squared) + 1e-4 * np.eye(len(points))
    return np.block([[kernel, affine], [affine.T, np.zeros((3, 3))]])


@pytest.mark.parametrize(
    "num_shared, num_own, num_sides",
    [(3, 0, 1), (3, 1, 2), (4, 3, 7), (8, 8, 8), (9, 7, 17), (33, 0, 16), (20, 37, 10), (64, 32, 16)],
)
def test_splines_pass_through_the_motion(num_shared: int, num_own: int, num_sides: int) -> None:
    positions, motion = random_points(num_shared, num_own, num_sides)
    for solved, points, moved in zip(solve(positions, motion, num_shared), positions, motion, strict=True):
        made = matrix_of(points) @ solved
        assert np.abs(made[:-3] - moved).max() < 1e-3
        assert np.abs(made[-3:]).max() < 1e-3


def test_points_in_one_place_move_by_their_mean() -> None:
    positions, motion = random_points(20, 8, 4)
    positions[:, 4] = positions[:, 3]
    positions[1, 25] = positions[1, 24]
    for solved, points, moved in zip(solve(positions, motion, 20), positions, motion, strict=True):
        made = matrix_of(points) @ solved - np.pad(1e-4 * solved[:-3], ((0, 3), (0, 0)))
        assert np.abs(made[3:5] - moved[3:5].mean(0)).max() < 0.01
    assert np.abs(made[24:26] - moved[24:26].mean(0)).max() < 0.01


def test_a_layer_whose_points_are_nowhere_leaves_the_other_alone() -> None:
    positions, motion = random_points(12, 6, 4)
    whole = solve(positions, motion, 12)
    positions[1, 15] = np.nan
    solved = solve(positions, motion, 12)
    assert np.array_equal(solved[0], whole[0])
    assert not solved[1].any()


@pytest.mark.parametrize("place", [np.nan, np.inf, 3e38])
def test_shared_points_that_are_nowhere_move_nothing(place: float) -> None:
    positions, motion = random_points(12, 6, 4)
    positions[:, 5] = place
    assert not solve(positions, motion, 12).any()


def test_shared_points_on_one_line_move_nothing() -> None:
    positions, motion = random_points(12, 6, 4)
    positions[:, :12, 1] = 0.3 * positions[:, :12, 0] + 1
    assert not solve(positions, motion, 12).any()


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
    parts = np.ones((4, 4), np.float32)
    at = SplineNodes((0.0, 0.0), 1.0, np.eye(2, 3), (-9, 9, -9, 9), (0, 1), np.full((4, 5), 255, np.uint8))
    points = points_with(np.zeros((2, 4, 2), np.float32), np.ones((2, 4, 4), np.float32))
    splines = NativeSplines(points, parts, at, num_shared=3)
    assert splines.solved.shape == (2, 7, 4) and not splines.solved.any()
    assert not splines.displace(np.ones(2, np.float32)).any()
    with pytest.raises(ValueError, match="float32 array"):
        splines.displace(np.ones(3, np.float32))
    with pytest.raises(ValueError, match="float32 array"):
        NativeSplines(points, parts[:3], at, num_shared=3)


@pytest.mark.parametrize("num_shared", [2, 5])
def test_poles_are_shared_points(num_shared: int) -> None:
    with pytest.raises(ValueError, match=f"{num_shared} of 4 points cannot be shared"):
        solve(np.zeros((2, 4, 2), np.float32), np.ones((2, 4, 4), np.float32), num_shared)
