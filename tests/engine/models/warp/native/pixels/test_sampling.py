"""Resampling and the head's motion in C against OpenCV's and numpy's."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from fixtures.native_kernel import has_windows, native_kernel, numpy_alone, without_windows
from musetalk_cli.engine.models.warp.face.region_map import RegionMap, blend_layer
from musetalk_cli.engine.models.warp.face.sampling import Box, Grid, UpsampledImage, crop_planes
from musetalk_cli.engine.models.warp.idle.head_motion import HeadField
from musetalk_cli.engine.models.warp.idle.life import LifeState
from musetalk_cli.engine.models.warp.native.pixels.sampling import sampler
from musetalk_cli.engine.types.colour import Planes
from musetalk_cli.engine.types.messages import Region

# Positions are rounded to 1/32 sample, on both sides: where they differ in their last bit, by one such step.
MAX_LEVELS, MEAN_LEVELS = 2, 0.08


@pytest.fixture(autouse=True, params=["windows", "without"])
def kernel(request: pytest.FixtureRequest) -> Iterator[None]:
    with native_kernel():
        if request.param == "without":
            with without_windows():
                yield
        elif has_windows():
            yield
        else:
            pytest.skip("needs a processor with AVX-512 VBMI")


def smooth_planes(seed: int, height: int, width: int) -> Planes:
    """Slopes and waves, steep ones included, but no noise: a step of 1/32 sample is less than two levels."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x * a + y * b) for a, b in rng.uniform(-0.35, 0.35, (3, 2))]
    luma = 128 + 40 * np.sum(waves, axis=0)
    chroma = np.stack([luma[::2, ::2] / 2, 255 - luma[::2, ::2]], axis=-1)
    return Planes(luma.clip(0, 255).astype(np.uint8), chroma.clip(0, 255).astype(np.uint8))


def random_map(seed: int, region: Region, cell_px: int) -> tuple[Grid, NDArray[np.float32]]:
    """A grid, and positions that go beyond the image here and there."""
    grid = Grid(region, cell_px)
    rng = np.random.default_rng(seed)
    moved = grid.nodes + rng.normal(0, 3 * cell_px, (*grid.nodes.shape[:2], 2))
    return grid, moved.astype(np.float32)


def differences(one: Planes, other: Planes) -> tuple[int, float]:
    away = [np.abs(a.astype(int) - b) for a, b in ((one.luma, other.luma), (one.chroma, other.chroma))]
    return max(int(each.max(initial=0)) for each in away), max(float(each.mean()) for each in away if each.size)


def assert_alike(one: Planes, other: Planes) -> None:
    most, mean = differences(one, other)
    assert most <= MAX_LEVELS
    assert mean <= MEAN_LEVELS


@pytest.mark.parametrize(
    "region, cell_px",
    [
        (Region(0, 0, 2, 2), 2),
        (Region(2, 4, 38, 30), 2),
        (Region(8, 0, 120, 100), 4),
        (Region(4, 6, 90, 66), 6),
        (Region(0, 0, 1100, 20), 10),
        (Region(0, 0, 130, 260), 128),
    ],
)
def test_a_region_is_sampled_as_by_opencv(region: Region, cell_px: int) -> None:
    image = UpsampledImage.of(smooth_planes(1, region.top + region.height + 12, region.left + region.width + 8))
    grid, positions = random_map(2, region, cell_px)
    with numpy_alone():
        expected = RegionMap(grid, positions).sample(image)
    assert_alike(RegionMap(grid, positions).sample(image), expected)


@pytest.mark.parametrize("across, turned", [(1, 0), (0.97, 0.02), (1.04, -0.03), (2.6, 0), (-1, 0.3), (0, 0), (1, 7)])
def test_neighbours_are_sampled_alike_however_they_lie(across: float, turned: float) -> None:
    """Those of almost neighbouring samples are loaded together; the others one by one. Both meet the image's edges."""
    image = UpsampledImage.of(smooth_planes(21, 72, 90))
    grid = Grid(Region(0, 0, 90, 72), 6)
    x, y = np.moveaxis(grid.nodes - (45, 36), -1, 0)
    positions = np.stack([across * x + turned * y + 45, y - turned * x + 36], axis=-1).astype(np.float32)
    with numpy_alone():
        expected = RegionMap(grid, positions).sample(image)
    assert_alike(RegionMap(grid, positions).sample(image), expected)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("width, height", [(62, 8), (64, 6), (66, 40), (160, 30), (1104, 12)])
def test_windows_change_no_byte(seed: int, width: int, height: int) -> None:
    """From almost none to all pixels fit into windows: still, moved, turned, stretched, and at the image's edges."""
    rng = np.random.default_rng(seed)
    image = UpsampledImage.of(smooth_planes(seed, height + 6, width + 10))
    grid = Grid(Region(2, 4, width, height), 2 * int(rng.integers(1, 6)))
    scale, turn, shake = [(1, 0, 0), (1, 0, 0.2), (0.9, 0.05, 0), (1.3, 0.1, 0.1), (0.6, -0.3, 0), (-1, 1, 2)][seed]
    x, y = np.moveaxis(grid.nodes, -1, 0)
    turned = np.stack([scale * x + turn * y, scale * y - turn * x], axis=-1) + rng.normal(0, 2, 2)
    positions = (turned + rng.normal(0, shake, turned.shape)).astype(np.float32)
    planes = RegionMap(grid, positions).sample(image)
    with without_windows():
        expected = RegionMap(grid, positions).sample(image)
    assert differences(planes, expected) == (0, 0)


@pytest.mark.parametrize("width", [34, 62, 90])
def test_the_last_pixels_of_a_row_are_sampled_as_if_it_went_on(width: int) -> None:
    """A row is sampled 32 pixels at a time, of which the last may lack some."""
    image = UpsampledImage.of(smooth_planes(22, 400, 140))
    wide, narrow = (Grid(Region(6, 8, columns, 380), 6) for columns in (128, width))
    x, y = np.moveaxis(wide.nodes, -1, 0)
    moved = np.stack([1.02 * x + 0.03 * y + 0.4, 0.99 * y - 0.02 * x + 1.7], axis=-1).astype(np.float32)
    RegionMap(wide, np.full_like(moved, np.nan)).sample(image)  # what memory held before must not matter
    planes = RegionMap(narrow, np.ascontiguousarray(moved[:, : narrow.nodes.shape[1]])).sample(image)
    expected = RegionMap(wide, moved).sample(image)
    assert np.array_equal(planes.luma, expected.luma[:, :width])
    assert np.array_equal(planes.chroma, expected.chroma[:, : width // 2])


@pytest.mark.parametrize(
    "lips_px", [(slice(6, 30), slice(10, 48)), (slice(0, 64), slice(0, 80)), (slice(62, 64), slice(0, 2))]
)
def test_the_lips_have_positions_of_their_own(lips_px: Box) -> None:
    image = UpsampledImage.of(smooth_planes(3, 70, 90))
    grid, positions = random_map(4, Region(4, 2, 80, 64), 4)
    size = [span.stop - span.start for span in lips_px]
    lips = np.random.default_rng(5).uniform(-4, 90, (*size, 2)).astype(np.float32)
    with numpy_alone():
        expected = RegionMap(grid, positions, lips, lips_px).sample(image)
    assert_alike(RegionMap(grid, positions, lips, lips_px).sample(image), expected)


@pytest.mark.parametrize(
    "box", [(slice(6, 40), slice(10, 58)), (slice(0, 64), slice(0, 80)), (slice(8, 10), slice(78, 80))]
)
def test_a_box_is_sampled_again_from_a_part_of_the_image(box: Box) -> None:
    patch, corner = UpsampledImage.of(smooth_planes(6, 40, 50)), np.array([12, 8], np.float32)
    grid, positions = random_map(7, Region(4, 2, 80, 64), 4)
    drawn, expected = (smooth_planes(8, 64, 80) for _ in range(2))
    RegionMap(grid, positions).sample_again(drawn, box, patch, corner)
    with numpy_alone():
        RegionMap(grid, positions).sample_again(expected, box, patch, corner)
    assert_alike(drawn, expected)
    rest = np.ones(drawn.luma.shape, bool)
    rest[box] = False
    assert np.array_equal(drawn.luma[rest], smooth_planes(8, 64, 80).luma[rest])


def test_a_layer_is_blended_in() -> None:
    image = UpsampledImage.of(smooth_planes(9, 70, 620))
    box = (slice(10, 50), slice(6, 600))
    rng = np.random.default_rng(10)
    positions = rng.uniform(-4, 600, (40, 594, 2)).astype(np.float32)
    alpha = rng.uniform(0, 1, (40, 594)).astype(np.float32)
    alpha[:8] = 0
    alpha[8:16] = 1
    drawn, expected = (smooth_planes(11, 64, 620) for _ in range(2))
    blend_layer(drawn, box, positions, alpha, image)
    with numpy_alone():
        blend_layer(expected, box, positions, alpha, image)
    assert_alike(drawn, expected)


def test_a_region_is_cropped_as_by_opencv() -> None:
    image = np.random.default_rng(19).integers(0, 256, (30 * 3 // 2, 40), dtype=np.uint8)
    for region in (Region(0, 0, 40, 30), Region(6, 4, 2, 22), Region(38, 28, 2, 2)):
        with numpy_alone():
            expected = crop_planes(image, region)
        drawn = crop_planes(image, region)
        assert np.array_equal(drawn.luma, expected.luma)
        assert np.array_equal(drawn.chroma, expected.chroma)


def test_the_head_is_moved_as_by_numpy() -> None:
    nodes = Grid(Region(10, 20, 200, 300), 4).nodes
    planes = np.random.default_rng(13).uniform(0, 1, (*nodes.shape[:2], 3)).astype(np.float32)
    pivot = (np.array([100.0, 300.0]), np.array([0.1, 0.99]), 220.0)
    field = HeadField(nodes, planes, pivot, (slice(20, 30), slice(10, 30)))
    life = LifeState(yaw=0.05, pitch=-0.02, roll=0.03, shift_x=0.01, shift_y=-0.01, brows=0.7)
    with numpy_alone():
        expected = field.sample_positions(life)
    assert np.allclose(field.sample_positions(life), expected, atol=1e-3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, -3e38])
def test_no_position_is_followed_out_of_the_image(value: float) -> None:
    image = UpsampledImage.of(smooth_planes(14, 20, 30))
    grid, positions = random_map(15, Region(0, 0, 30, 20), 4)
    positions[1::2, ::3] = value
    lips = np.full((8, 8, 2), value, np.float32)
    planes = RegionMap(grid, positions, lips, (slice(2, 10), slice(4, 12))).sample(image)
    blend_layer(planes, (slice(2, 10), slice(4, 12)), lips, np.ones((8, 8), np.float32), image)
    assert planes.luma.shape == (20, 30)


def test_arrays_that_do_not_fit_are_refused() -> None:
    native = sampler()
    assert native is not None
    _grid, positions = random_map(16, Region(0, 0, 32, 24), 4)
    image = UpsampledImage.of(smooth_planes(17, 24, 32))
    source, planes = Planes(image.luma, image.chroma), smooth_planes(18, 24, 32)
    box = (slice(0, 24), slice(0, 32))

    def refused(*changed: object, **more: object) -> None:
        with pytest.raises(ValueError, match=r"\d"):
            native.sample_region(*changed, **more)  # type: ignore[arg-type]

    native.sample_region(planes, box, positions, 4, source)
    refused(planes, box, positions[:, :-2], 4, source)
    refused(planes, box, positions.astype(np.float64), 4, source)
    refused(planes, box, positions[:, ::-1], 4, source)
    refused(planes, box, positions, 3, source)
    refused(planes, box, positions, 0, source)
    refused(planes, (slice(0, 26), slice(0, 32)), positions, 4, source)
    refused(planes, (slice(-2, 24), slice(0, 32)), positions, 4, source)
    refused(planes, (slice(1, 24), slice(0, 32)), positions, 4, source)
    refused(Planes(planes.luma[:, :-2], planes.chroma), box, positions, 4, source)
    refused(planes, box, positions, 4, Planes(image.luma, image.chroma[1:]))
    refused(planes, box, positions, 4, Planes(image.luma[:4, :4], image.chroma[:1, :1]))
    lips = np.zeros((8, 8, 2), np.float32)
    refused(planes, box, positions, 4, source, lips=lips, lips_box=(slice(0, 10), slice(0, 8)))
    refused(planes, box, positions, 4, source, lips=lips, lips_box=(slice(20, 28), slice(0, 8)))
