"""Shrinking in C, with AVX2 and without, against the areas' exact means and OpenCV's."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from fixtures.native_kernel import INSTRUCTIONS, native_kernel_with, numpy_alone
from musetalk_cli.engine.avatar.frames import resize_i420, resize_image, resize_plane
from musetalk_cli.engine.native.shrinking import (
    MAX_TIMES,
    Size,
    can_shrink,
    find_averages,
    shrink_i420,
    shrink_plane,
)
from musetalk_cli.engine.types.colour import ByteArray


@pytest.fixture(autouse=True, params=INSTRUCTIONS)
def kernel(request: pytest.FixtureRequest) -> Iterator[None]:
    with native_kernel_with(request.param):
        yield


def shares(size: int, shrunk: int) -> NDArray[np.float64]:
    """How much each sample of an axis counts in each one of the shrunk axis (shrunk, size)."""
    edges = np.arange(shrunk + 1) * size / shrunk
    covered = np.minimum(edges[1:, None], np.arange(1, size + 1)) - np.maximum(edges[:-1, None], np.arange(size))
    return np.asarray(covered.clip(0) * shrunk / size)


def planes_of(image: ByteArray) -> Iterator[ByteArray]:
    rows, columns = image.shape[0] // 3 * 2, image.shape[1]
    yield image[:rows]
    yield from image[rows:].reshape(2, rows // 2, columns // 2)


def shrink(image: ByteArray, size: Size) -> ByteArray:
    """By the kernel; the image stays as it is."""
    before = image.copy()
    shrunk = shrink_i420(image, *size)
    assert shrunk is not None and shrunk.shape == (size.height * 3 // 2, size.width)
    assert np.array_equal(image, before)
    return shrunk


def away_from_exact(image: ByteArray, size: Size) -> float:
    """Levels between a shrunk image and its exact means, at most."""
    away = []
    for plane, shrunk in zip(planes_of(image), planes_of(shrink(image, size)), strict=True):
        exact = shares(plane.shape[0], shrunk.shape[0]) @ plane @ shares(plane.shape[1], shrunk.shape[1]).T
        away.append(float(np.abs(exact - shrunk).max()))
    return max(away)


def images(width: int, height: int) -> Iterator[ByteArray]:
    """Noise, black and white, and one level each."""
    rng = np.random.default_rng((width, height))
    shape = (height * 3 // 2, width)
    yield rng.integers(0, 256, shape, dtype=np.uint8)
    yield (rng.integers(0, 2, shape) * 255).astype(np.uint8)
    for level in (0, 255, int(rng.integers(1, 255))):
        yield np.full(shape, level, np.uint8)


SIZES = [
    (2, 4, 2, 2),
    (4, 4, 2, 2),
    (6, 6, 2, 4),
    (6, 10, 4, 2),
    (30, 34, 18, 26),
    (32, 32, 30, 30),
    (34, 32, 32, 30),
    (62, 70, 62, 34),
    (70, 70, 50, 50),
    (66, 130, 64, 128),
    (514, 70, 512, 68),
    (1030, 44, 1030, 42),
    (1030, 44, 646, 22),
    (2060, 40, 1370, 34),
    (1080, 64, 288, 18),
    (512, 512, 32, 32),
    (510, 500, 34, 32),
]


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
def test_every_sample_is_the_mean_of_its_area(size: tuple[int, int, int, int]) -> None:
    """In whole tiles and in parts of one, in one run of columns and in several; half a level is rounding."""
    width, height, *wanted = size
    for image in images(width, height):
        assert away_from_exact(image, Size(*wanted)) < 0.5 + 0.05


def test_one_level_stays_that_level() -> None:
    for level in range(256):
        image = np.full((105, 96), level, np.uint8)
        for size in (Size(70, 54), Size(96, 58), Size(6, 6), Size(48, 14)):
            assert (shrink(image, size) == level).all()


@pytest.mark.parametrize(
    "across, down", [(1, 2), (1, 3), (2, 2), (3, 2), (3, 3), (4, 4), (5, 16), (1.5, 1.5), (1, 4 / 3)]
)
def test_of_simple_ratios_every_sample_is_as_opencvs(across: float, down: float) -> None:
    """A mean halfway between two levels is rounded to the even one, that of four samples upwards."""
    wanted = Size(96, 48)
    for image in images(int(wanted.width * across), int(wanted.height * down)):
        with numpy_alone():
            expected = resize_i420(image, *wanted)
        assert np.array_equal(shrink(image, wanted), expected)


def test_frames_are_shrunk_as_by_opencv() -> None:
    rng = np.random.default_rng(31)
    for _ in range(40):
        width, height = (2 * rng.integers(1, 260, 2)).tolist()
        wanted = Size(*(2 * int(rng.integers(max(1, -(-side // 32)), side // 2 + 1)) for side in (width, height)))
        if not can_shrink(Size(width, height), wanted):
            continue
        for image in images(width, height):
            drawn = resize_i420(image, *wanted)
            with numpy_alone():
                expected = resize_i420(image, *wanted)
            away = np.abs(drawn.astype(int) - expected)
            assert away.max() <= 1
            assert np.array_equal(drawn, shrink(image, wanted))


@pytest.mark.parametrize(
    "size", [(700, 700, 512, 512), (540, 960, 360, 640), (540, 960, 288, 512), (540, 960, 144, 256)]
)
def test_few_samples_differ_from_opencvs(size: tuple[int, int, int, int]) -> None:
    width, height, *wanted = size
    noise = next(images(width, height))
    for image in (noise, cv2.GaussianBlur(noise, (0, 0), 3).astype(np.uint8)):
        with numpy_alone():
            expected = resize_i420(image, *wanted)
        assert (shrink(image, Size(*wanted)) != expected).mean() < 0.005


def test_what_grows_or_hardly_is_left_is_opencvs() -> None:
    """As is a frame whose height stays: OpenCV does not average its areas."""
    for size, wanted in [
        (Size(64, 64), Size(64, 64)),
        (Size(64, 64), Size(32, 64)),
        (Size(64, 64), Size(66, 32)),
        (Size(64, 64), Size(32, 66)),
        (Size(64, 66), Size(64, 4)),
        (Size(66, 64), Size(4, 4)),
    ]:
        image = next(images(*size))
        assert not can_shrink(size, wanted) and shrink_i420(image, *wanted) is None
        with numpy_alone():
            expected = resize_i420(image, *wanted)
        assert np.array_equal(resize_i420(image, *wanted), expected)


def test_a_plane_is_shrunk_as_in_a_frame_whatever_its_size() -> None:
    image = next(images(78, 64))
    for plane, shrunk in zip(planes_of(image), planes_of(shrink(image, Size(54, 34))), strict=True):
        assert np.array_equal(resize_plane(plane, *shrunk.shape[::-1]), shrunk)
    for height, width, wanted in [
        (3, 1, (1, 2)),
        (7, 41, (39, 5)),
        (33, 33, (31, 15)),
        (35, 35, (37, 33)),
        (9, 9, (3, 9)),
    ]:
        plane = image[:height, :width].copy()
        drawn = resize_plane(plane, *wanted)
        assert drawn.shape == wanted[::-1]
        assert np.abs(drawn.astype(int) - resize_image(plane, *wanted)).max() <= 1


def test_arrays_that_do_not_fit_are_refused() -> None:
    image = next(images(64, 64))
    for wrong in (image[:, ::2], image.astype(np.float32), image[:-1], image[:-2]):
        with pytest.raises(ValueError, match="contiguous"):
            shrink_i420(wrong, 20, 20)
        with pytest.raises(ValueError, match="contiguous"):
            shrink_plane(wrong[:, ::2], 10, 20)
    with pytest.raises(ValueError, match="even"):
        shrink_i420(image, 20, 21)
    image.flags.writeable = False
    shrink(image, Size(20, 20))


def test_weights_count_a_whole() -> None:
    for size, shrunk in [(3, 2), (1080, 720), (1440, 1438), (4096, 4094), (16384, 16382), (16384, 1030)]:
        averages = find_averages(Size(size, size), Size(shrunk, shrunk))
        for taps in (averages.rows, averages.columns):
            assert (taps.weights.sum(axis=1, dtype=int) == 65536).all()
            assert taps.first.min() >= 0 and (taps.first + taps.weights.shape[1]).max() <= size
            assert taps.weights.shape[1] <= MAX_TIMES + 1


def test_several_threads_shrink_at_once() -> None:
    sizes = [Size(2 * side, 2 * side) for side in range(20, 80)]
    image = next(images(180, 180))
    expected = [shrink(image, size) for size in sizes]
    with ThreadPoolExecutor(4) as pool:
        drawn = list(pool.map(lambda size: shrink(image, size), sizes))
    assert all(np.array_equal(*each) for each in zip(drawn, expected, strict=True))
