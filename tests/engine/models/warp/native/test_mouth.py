"""The mouth's stages in C, on the nodes of a grid and on random pixels, against numpy's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray

from fixtures.drawn_video import moving_avatar
from fixtures.native_kernel import IS_REMAP_EXACT, native_kernel, numpy_alone
from musetalk_cli.engine.models.warp.face.control_points import COMPONENTS, GAP, gap_shares, wanted_gap
from musetalk_cli.engine.models.warp.face.geometry import smoothstep
from musetalk_cli.engine.models.warp.face.lighting import FaceLighting
from musetalk_cli.engine.models.warp.face.mouth_interior import Articulation, LipOpening, MouthInterior, TeethPlacement
from musetalk_cli.engine.models.warp.face.mouth_pose import MouthPose
from musetalk_cli.engine.models.warp.face.mouth_warp import MouthWarp, _shade_lips, cell_px, component_weights
from musetalk_cli.engine.models.warp.face.sampling import Grid, region_around
from musetalk_cli.engine.models.warp.face.skin_layers import LayerDistances
from musetalk_cli.engine.models.warp.face.tint import Tint
from musetalk_cli.engine.models.warp.mouth_places import MouthPlaces, axes_row, reach_px
from musetalk_cli.engine.models.warp.native.mouth import LipPixels
from musetalk_cli.engine.native.arrays import pointer, pointer_to_rows
from musetalk_cli.engine.types.colour import Planes

Made = TypeVar("Made")
POSITION_PX, DISTANCE_PX = 1e-3, 5e-3
MAX_LEVELS, MEAN_LEVELS = 2, 0.05
SHAPES = {
    "rest": (0, 0, 0, 0, 0, 0),
    "a": (1, 0.9, 0.1, 0, 0, 0),
    "o": (0.6, 0.5, -0.9, 0, 0, 0),
    "ee": (0.35, 0.3, 0.8, 0, 0, 0),
    "f": (0.2, 0.1, 0, 0, 1, 0),
    "m": (0.1, 0.1, 0, 1, 0, 0),
    "l": (0.5, 0.45, 0.1, 0, 0, 0.66),
    "th": (0.5, 0.3, -0.2, 0, 0, 0.9),
}
UNIT_PX = 60.0
TINT = Tint(
    0.3,
    np.array([10, 60, 60, 130, 220], np.float32),
    np.array([[110, 140], [118, 139], [121, 136], [120, 137], [126, 130]], np.float32),
    np.array([-3, 5], np.float32),
    140.0,
)


def make_both(maker: Callable[[], Made]) -> tuple[Made, Made]:
    """What works with numpy, and what works with the native kernel."""
    with numpy_alone():
        reference = maker()
    with native_kernel():
        return reference, maker()


def near_equal(made: Planes, expected: Planes) -> None:
    for plane, wanted in ((made.luma, expected.luma), (made.chroma, expected.chroma)):
        away = np.abs(plane.astype(int) - wanted)
        assert away.max() <= MAX_LEVELS
        assert away.mean() <= MEAN_LEVELS


def weights_of(shape: tuple[float, ...]) -> NDArray[np.float32]:
    return component_weights(np.array(shape, np.float32))


def mouth_warp(gap: float, height_px: int) -> MouthWarp:
    """The mouth of a drawn person with this lip gap."""
    avatar = moving_avatar([gap] * 3).resized(height_px)
    pose = MouthPose.of_still(avatar.landmarks[1])
    region = region_around([reach_px(axes_row(pose.axes)[None])[0]], (avatar.width, avatar.height))
    interior = MouthInterior(pose.axes.unit_px, FaceLighting(140, np.array([180, 120, 134], np.float32)))
    grid = Grid(region, cell_px(pose.axes.unit_px))
    return MouthWarp(pose, grid, MouthPlaces.on(grid, pose.axes).boxes(0), interior)


def lips_size(warp: MouthWarp) -> tuple[int, int]:
    rows, columns = warp._lips_px
    return rows.stop - rows.start, columns.stop - columns.start


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("gap, height_px", [(0.0, 300), (0.3, 301), (0.3, 700)])
def test_positions_and_distances_of_nodes_and_pixels(gap: float, height_px: int, shape: tuple[float, ...]) -> None:
    numpy_warp, warp = make_both(lambda: mouth_warp(gap, height_px))
    weights, tuck, box = weights_of(shape), shape[4], warp._mouth_box
    targets = warp._grid.nodes + np.random.default_rng(1).normal(0, 0.7, warp._grid.nodes.shape).astype(np.float32)
    expected = numpy_warp._layers.backward_map(weights, targets[box])
    mapped = warp._layers.backward_map(weights, targets[box])
    rounding_px = 0.0 if IS_REMAP_EXACT else warp._grid.cell_px / 16
    assert np.abs(mapped - expected).max() < POSITION_PX + rounding_px
    distances = warp._layers.layer_distances(expected, tuck)
    wanted = numpy_warp._layers.layer_distances(expected, tuck)
    assert distances.shape == wanted.shape
    assert np.abs(distances - wanted).max() < DISTANCE_PX

    skin = warp._layers.native
    assert skin is not None
    alpha = LayerDistances.unstack(wanted).upper_alpha(float(warp._grid.cell_px))[..., None]
    skin.blend_layers(expected, wanted, targets[box])
    assert np.abs(targets[box] - (expected[1] + (expected[0] - expected[1]) * alpha)).max() < POSITION_PX

    near, nearby = skin.lip_pixels(expected, wanted, warp._lips_box, lips_size(warp), warp._rims), warp._nearby(wanted)
    for name in ("upper", "lower", "inward"):
        assert np.abs(getattr(near, name) - getattr(nearby, name)).max() < DISTANCE_PX, name
    assert np.abs(near.alpha - nearby.upper_alpha(0.5)).max() < DISTANCE_PX
    upper, lower = warp._upsample_map(expected, nearby)
    if near.upper_positions is None:
        lower = lower + (upper - lower) * near.alpha[..., None]
    else:
        assert np.abs(near.upper_positions - upper).max() < POSITION_PX
    assert (near.upper_positions is not None) == (gap > 0)
    assert np.abs(near.positions - lower).max() < POSITION_PX


def test_a_box_of_pixels_wider_than_a_run() -> None:
    _, warp = make_both(lambda: mouth_warp(0.3, 300))
    skin = warp._layers.native
    assert skin is not None
    mapped = warp._layers.backward_map(weights_of(SHAPES["a"]), warp._grid.nodes[warp._mouth_box])
    distances = warp._layers.layer_distances(mapped, 0.0)
    box = (slice(1, 3 + 2), slice(1, 3 + 1100))
    size = (3 * warp._grid.cell_px, 1100)
    near = skin.lip_pixels(mapped, distances, box, size, warp._rims)
    known = min(mapped.shape[2] - 3, 1000) * warp._grid.cell_px - warp._grid.cell_px
    fine = warp._grid.upsample(distances[1:6], warp._grid.cell_px)
    known = min(known, fine.shape[1] - warp._grid.cell_px)
    assert np.isfinite(near.upper).all()
    assert np.abs(near.upper[:, :known] - fine[:, warp._grid.cell_px :, 0][: size[0], :known]).max() < DISTANCE_PX


def random_box(height: int, width: int, seed: int) -> Planes:
    """Planes that are a box of larger ones."""
    random = np.random.default_rng(seed)
    luma = random.integers(16, 236, (height + 8, width + 12), dtype=np.uint8)
    chroma = random.integers(16, 240, (height // 2 + 4, width // 2 + 6, 2), dtype=np.uint8)
    return Planes(luma[2 : 2 + height, 4 : 4 + width], chroma[1 : 1 + height // 2, 2 : 2 + width // 2])


def copy_box(box: Planes) -> Planes:
    return Planes(box.luma.copy(), box.chroma.copy())


def random_pixels(height: int, width: int, seed: int) -> LipPixels:
    """Lips that are open in the middle, with a jagged edge."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : complex(0, height), -1 : 1 : complex(0, width)]
    arch = 0.2 * UNIT_PX * (0.8 - x**2)
    planes = [arch * (-0.5 - y), arch * (y - 0.5), 0.5 * (1 - np.abs(x))]
    upper, lower, inward = ((plane + random.normal(0, 0.3, plane.shape)).astype(np.float32) for plane in planes)
    return LipPixels(
        upper, lower, inward, np.zeros_like(upper), np.zeros((height, width, 2), np.float32), None, UNIT_PX
    )


SIZES = [(2, 2), (4, 2), (2, 6), (58, 90), (30, 1100)]


@pytest.mark.parametrize("own_gap", [0.0, 0.03, 0.3])
@pytest.mark.parametrize("size", SIZES)
def test_shaded_lips(size: tuple[int, int], own_gap: float) -> None:
    _, warp = make_both(lambda: mouth_warp(0.0, 300))
    skin, near, box = warp._layers.native, random_pixels(*size, 3), random_box(*size, 4)
    assert skin is not None
    expected = copy_box(box)
    units = [plane / np.float32(skin.unit_px) for plane in (near.upper, near.lower)]
    _shade_lips(expected.luma, *units, near.inward, own_gap)
    skin.shade_lips(box, near, own_gap)
    near_equal(box, expected)


def interior_of(tint: Tint | None) -> MouthInterior:
    blur_px = 0.0 if tint is None else 1.7
    return MouthInterior(UNIT_PX, FaceLighting(140, np.array([180, 120, 134], np.float32), tint, blur_px))


INSIDES = ("a", "o", "ee", "l", "th")


@pytest.mark.parametrize("shape", [SHAPES[name] for name in INSIDES], ids=INSIDES)
@pytest.mark.parametrize("is_open", [False, True])
@pytest.mark.parametrize("yaw, tint", [(0.0, None), (0.4, None), (-0.7, TINT)])
@pytest.mark.parametrize("size", SIZES)
def test_the_inside_of_a_mouth(
    size: tuple[int, int],
    yaw: float,
    tint: Tint | None,
    is_open: bool,
    shape: tuple[float, ...],
) -> None:
    numpy_interior, interior = make_both(lambda: interior_of(tint))
    near, box, weights = random_pixels(*size, 8), random_box(*size, 9), weights_of(shape)
    zeros = np.zeros_like(near.upper)
    coverage = LayerDistances(near.upper, near.lower, zeros, near.inward, zeros, zeros).coverage(interior.edge_px)
    wanted = None
    if is_open:
        gap, purse, closing = (float(value) for value in gap_shares(weights))
        wanted = (GAP * gap, GAP * purse, closing, 0.4)
        apart = np.maximum((-near.upper - near.lower) / UNIT_PX, np.float32(0.02))
        coverage = coverage * smoothstep(wanted_gap(weights, 1 - near.inward / np.float32(0.4)) / apart, 0.2, 0.7)
    placement = TeethPlacement((0.01, -0.02), 0.06, yaw)
    to_units = np.array([[1, 0.05, -size[1] / 2], [-0.05, 1, -size[0] / 3]], np.float32) / np.float32(UNIT_PX)
    expected = copy_box(box)
    opening = LipOpening(coverage, -near.upper / UNIT_PX, -near.lower / UNIT_PX, to_units)
    pose = Articulation.of(np.array(shape, np.float32))
    numpy_interior.draw(expected, opening, placement, pose)
    assert interior.native is not None
    assert np.abs(interior.native.coverage(near, wanted, interior.edge_px) - coverage).max() < DISTANCE_PX
    moves = interior.native_pose(placement, to_units, pose)
    interior.native.draw(box, near, interior.native.coverage(near, wanted, interior.edge_px), moves)
    near_equal(box, expected)


def test_closed_lips_show_nothing_of_the_inside() -> None:
    _, interior = make_both(lambda: interior_of(None))
    near, box = random_pixels(8, 12, 10), random_box(8, 12, 11)
    closed = replace(near, upper=np.full((8, 12), 3, np.float32))
    before, to_units = copy_box(box), np.eye(2, 3, dtype=np.float32)
    assert interior.native is not None
    moves = interior.native_pose(TeethPlacement((0, 0), 0, 0), to_units, Articulation(1.0, 0.0, 1.0))
    interior.native.draw(box, closed, interior.native.coverage(closed, None, interior.edge_px), moves)
    assert np.array_equal(box.luma, before.luma) and np.array_equal(box.chroma, before.chroma)


def test_other_arrays_than_c_reads_are_refused() -> None:
    _, warp = make_both(lambda: mouth_warp(0.0, 300))
    targets = warp._grid.nodes[warp._mouth_box]
    weights = np.zeros(len(COMPONENTS), np.float32)
    for wrong in (targets.astype(np.float64), targets[:-1], targets[:, ::2], targets[..., ::-1]):
        with pytest.raises(ValueError, match="float32 array"):
            warp._layers.backward_map(weights, wrong)
    skin = warp._layers.native
    assert skin is not None
    with pytest.raises(ValueError, match="too few"):
        skin.backward_map(np.zeros((8, 2, 1, 5, 2), np.float32), weights, targets[:1, :5], targets[0, 0])
    with pytest.raises(ValueError, match="uint8 array"):
        pointer(np.zeros((2, 3), np.uint8)[:, :2], np.uint8, (2, 2))
    assert pointer_to_rows(np.zeros((2, 6), np.uint8)[:, :2], np.uint8, (2, 2))[1] == 6
    assert isinstance(pointer(np.zeros(2, np.float32), np.float32, (2,)), int)
