"""Images that are sampled between their pixels."""

from __future__ import annotations

import numpy as np

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
