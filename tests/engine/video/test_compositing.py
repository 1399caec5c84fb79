"""Faces put into frames: replaced or blended, and nothing else touched."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.frames import StillFrames
from musetalk_cli.engine.types.colour import Planes, planes_to_i420
from musetalk_cli.engine.types.messages import Face, FaceBatch, Region
from musetalk_cli.engine.video.compositing import composite

WIDTH, HEIGHT = 40, 32
REGION = Region(8, 4, 16, 12)


def noise(width: int, height: int, seed: int) -> Planes:
    random = np.random.default_rng(seed)
    return Planes(
        random.integers(0, 256, (height, width), dtype=np.uint8),
        random.integers(0, 256, (height // 2, width // 2, 2), dtype=np.uint8),
    )


def planes_of(image: NDArray[np.uint8]) -> Planes:
    chroma = image[HEIGHT:].reshape(2, HEIGHT // 2, WIDTH // 2)
    return Planes(image[:HEIGHT], np.moveaxis(chroma, 0, 2))


def put(*faces: Face) -> list[Planes]:
    images = tuple(planes_to_i420(noise(WIDTH, HEIGHT, seed)) for seed in range(len(faces)))
    made = composite(FaceBatch(faces, images, range(len(faces)), np.zeros((4, 1), np.int16)))
    assert made.audio.shape == (4, 1)
    return [planes_of(image) for image in made.images]


def test_a_face_replaces_its_region_and_nothing_else() -> None:
    other = Region(20, 18, 6, 10)
    faces = [Face(REGION, noise(16, 12, 7)), Face(other, noise(6, 10, 8))]
    for seed, (face, shown) in enumerate(zip(faces, put(*faces), strict=True)):
        left, top, width, height = face.region
        expected = noise(WIDTH, HEIGHT, seed)
        expected.luma[top : top + height, left : left + width] = face.planes.luma
        half = np.s_[top // 2 : (top + height) // 2, left // 2 : (left + width) // 2]
        expected.chroma[half] = face.planes.chroma
        assert np.array_equal(shown.luma, expected.luma)
        assert np.array_equal(shown.chroma, expected.chroma)


def test_a_frame_that_others_share_is_copied() -> None:
    shared = StillFrames(np.full((HEIGHT, WIDTH, 3), 90, np.uint8)).read([0, 0])
    before = shared[0].copy()
    faces = (Face(REGION, noise(16, 12, 7)), Face(REGION, noise(16, 12, 8)))
    made = composite(FaceBatch(faces, tuple(shared), range(2), np.zeros((4, 1), np.int16))).images
    assert np.array_equal(shared[0], before)
    for face, image in zip(faces, made, strict=True):
        assert np.array_equal(planes_of(image).luma[4:16, 8:24], face.planes.luma)
    with pytest.raises(ValueError, match="read-only"):
        shared[0][0, 0] = 1


@pytest.mark.parametrize("level", [0, 255])
def test_a_full_mask_replaces_and_an_empty_one_keeps_every_bit(level: int) -> None:
    face = Face(REGION, noise(16, 12, 7), np.full((12, 16), level, dtype=np.uint8))
    shown, kept = put(face)[0], noise(WIDTH, HEIGHT, 0)
    own = (face.planes.luma, face.planes.chroma)
    luma, chroma = own if level else (kept.luma[4:16, 8:24], kept.chroma[2:8, 4:12])
    assert np.array_equal(shown.luma[4:16, 8:24], luma)
    assert np.array_equal(shown.chroma[2:8, 4:12], chroma)


def test_a_mask_blends_to_the_nearest_level() -> None:
    mask = np.random.default_rng(3).integers(0, 256, (12, 16), dtype=np.uint8)
    face = Face(REGION, noise(16, 12, 7), mask)
    shown, under = put(face)[0].luma[4:16, 8:24], noise(WIDTH, HEIGHT, 0).luma[4:16, 8:24]
    exact = under + (face.planes.luma.astype(float) - under) * mask / 255
    assert np.abs(shown - exact).max() <= 0.5 + 1e-9


def test_a_mask_blends_chroma_by_the_mean_of_its_four_pixels() -> None:
    mask = np.random.default_rng(4).integers(0, 256, (12, 16), dtype=np.uint8)
    face = Face(REGION, noise(16, 12, 7), mask)
    shown, under = put(face)[0].chroma[2:8, 4:12], noise(WIDTH, HEIGHT, 0).chroma[2:8, 4:12]
    share = mask.reshape(6, 2, 8, 2).mean(axis=(1, 3))[..., None] / 255
    exact = under + (face.planes.chroma.astype(float) - under) * share
    assert np.abs(shown - exact).max() <= 1.01  # the mean of the mask is rounded too
