"""Upsampling in C, with AVX2 and without, against the filter's definition and OpenCV's."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from fixtures.native_kernel import INSTRUCTIONS, native_kernel_with, numpy_alone
from musetalk_cli.engine.models.warp.face.sampling import UpsampledImage, crop_planes
from musetalk_cli.engine.types.colour import Planes
from musetalk_cli.engine.types.messages import Region


@pytest.fixture(autouse=True, params=INSTRUCTIONS)
def kernel(request: pytest.FixtureRequest) -> Iterator[None]:
    with native_kernel_with(request.param):
        yield


def half_samples(rows: NDArray[np.integer]) -> NDArray[np.int64]:
    """64 times the values between neighbours of each row (h, w), its ends repeated; exact."""
    padded = np.pad(rows.astype(np.int64), ((0, 0), (3, 4)), mode="edge")
    taps = (-1, 4, -11, 40, 40, -11, 4, -1)
    return sum((tap * padded[:, k : k + rows.shape[1]] for k, tap in enumerate(taps)), np.zeros(rows.shape, np.int64))


def upsample_exactly(luma: NDArray[np.uint8]) -> NDArray[np.uint8]:
    doubled = np.zeros((2 * luma.shape[0], 2 * luma.shape[1]), np.int64)
    below = half_samples(luma.T).T
    doubled[::2, ::2], doubled[::2, 1::2] = luma, (half_samples(luma) + 32) >> 6
    doubled[1::2, ::2], doubled[1::2, 1::2] = (below + 32) >> 6, (half_samples(below) + 2048) >> 12
    return doubled.clip(0, 255).astype(np.uint8)


def steepest(height: int, width: int) -> Iterator[NDArray[np.uint8]]:
    """Images of black and white alone; the last two bring the filter to its limits in both directions."""
    y, x = np.mgrid[:height, :width]
    light = np.array([0, 1, 0, 1, 1, 0, 1, 0], bool)  # where the filter's weights are positive
    rng = np.random.default_rng(23)
    both = light[y % 8] ^ ~light[x % 8]
    for is_white in (x % 2 == 0, y % 2 == 0, (x + y) % 2 == 0, rng.random((height, width)) < 0.5, both, ~both):
        yield np.where(is_white, 255, 0).astype(np.uint8)


@pytest.mark.parametrize("height", [1, 8, 21])
@pytest.mark.parametrize("width", [1, 3, 31, 32, 33, 36, 70, 1023, 1024, 1025, 1028, 1029, 1056, 2080])
def test_upsampling_is_exact(width: int, height: int) -> None:
    """In whole vectors and in parts of one, in one run of samples and in several, whatever the image's contrast."""
    for whole in steepest(height, width + 5):
        luma = whole[:, 2 : 2 + width]
        planes = Planes(luma, np.zeros((height // 2, width // 2, 2), np.uint8))
        assert np.array_equal(UpsampledImage.of(planes).luma, upsample_exactly(luma))


@pytest.mark.parametrize("size", [(2, 2), (4, 6), (9, 7), (16, 1), (1, 16), (30, 1300), (70, 34)])
def test_an_image_is_upsampled_as_by_opencv(size: tuple[int, int]) -> None:
    whole = np.random.default_rng(12).integers(0, 256, (size[0], size[1] + 6), dtype=np.uint8)
    for luma in (whole[:, : size[1]], whole[:, 3 : 3 + size[1]]):
        planes = Planes(luma, np.zeros((size[0] // 2, size[1] // 2, 2), np.uint8))
        with numpy_alone():
            expected = UpsampledImage.of(planes).luma
        drawn = UpsampledImage.of(planes).luma
        assert drawn.shape == expected.shape
        assert np.abs(drawn.astype(int) - expected).max() <= 1
        assert np.array_equal(drawn[::2, ::2], luma)


def test_a_region_is_taken_as_it_is_cropped_and_upsampled() -> None:
    image = np.random.default_rng(13).integers(0, 256, (60, 68), dtype=np.uint8)
    for region in (Region(0, 0, 68, 40), Region(6, 12, 62, 28), Region(66, 38, 2, 2)):
        whole, taken = UpsampledImage.of(crop_planes(image, region)), UpsampledImage.of_region(image, region)
        assert np.array_equal(taken.luma, whole.luma) and np.array_equal(taken.chroma, whole.chroma)
    for wrong in (Region(8, 0, 62, 40), Region(0, 2, 68, 40), Region(-2, 0, 4, 4), Region(1, 0, 4, 4)):
        with pytest.raises(ValueError, match="no even region"):
            UpsampledImage.of_region(image, wrong)
