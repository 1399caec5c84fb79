"""Images that are sampled between their pixels."""

from __future__ import annotations

import numpy as np
import pytest

from musetalk_cli.engine.models.warp.face.sampling import UpsampledImage
from musetalk_cli.engine.types.colour import Planes

WIDTH, HEIGHT = 64, 48


def noise(width: int, height: int, seed: int) -> Planes:
    random = np.random.default_rng(seed)
    return Planes(
        random.integers(0, 256, (height, width), dtype=np.uint8),
        random.integers(0, 256, (height // 2, width // 2, 2), dtype=np.uint8),
    )


def test_the_even_samples_are_the_images_own() -> None:
    planes = noise(WIDTH, HEIGHT, 0)
    image = UpsampledImage.of(planes)
    assert image.luma.shape == (2 * HEIGHT, 2 * WIDTH)
    assert np.array_equal(image.luma[::2, ::2], planes.luma)
    assert np.array_equal(image.chroma, planes.chroma)


@pytest.mark.parametrize(("left", "top", "margin"), [(10, 6, 4), (0, 0, 6), (24, 20, 8)])
def test_a_patch_changes_what_is_inside_its_margin_alone(left: int, top: int, margin: int) -> None:
    before = UpsampledImage.of(noise(WIDTH, HEIGHT, 0))
    luma, chroma = before.luma.copy(), before.chroma.copy()
    width, height = 36, 28
    patch = noise(width, height, 1)
    after = before.with_patch(patch, left, top, margin)
    rows, columns = slice(top + margin, top + height - margin), slice(left + margin, left + width - margin)
    inside = np.zeros((HEIGHT, WIDTH), bool)
    inside[rows, columns] = True
    fine, coarse = inside.repeat(2, axis=0).repeat(2, axis=1), inside[::2, ::2]
    assert np.array_equal(after.luma[~fine], luma[~fine])
    assert np.array_equal(after.chroma[~coarse], chroma[~coarse])
    own = np.s_[margin : height - margin, margin : width - margin]
    assert np.array_equal(after.luma[::2, ::2][rows, columns], patch.luma[own])
    half = np.s_[margin // 2 : (height - margin) // 2, margin // 2 : (width - margin) // 2]
    assert np.array_equal(after.chroma[coarse].reshape(patch.chroma[half].shape), patch.chroma[half])
    assert np.array_equal(before.luma, luma), "the image that it is a copy of stays"
    assert np.array_equal(before.chroma, chroma)
