from __future__ import annotations

import subprocess

import numpy as np
import pytest

from musetalk_cli.engine.types.colour import bgr_to_planes, bgr_to_ycbcr, even_size, i420_to_bgr, planes_to_i420

# Rec. BT.709, 8 bit, limited range: (B, G, R) → (Y, Cb, Cr).
PRIMARIES = {
    (0, 0, 0): (16, 128, 128),
    (255, 255, 255): (235, 128, 128),
    (0, 0, 255): (63, 102, 240),
    (0, 255, 0): (173, 42, 26),
    (255, 0, 0): (32, 240, 118),
    (128, 128, 128): (126, 128, 128),
}


@pytest.mark.parametrize(("bgr", "expected"), PRIMARIES.items())
def test_known_colours(bgr: tuple[int, ...], expected: tuple[int, ...]) -> None:
    assert tuple(np.round(bgr_to_ycbcr(bgr)).astype(int)) == expected
    planes = bgr_to_planes(np.full((4, 6, 3), bgr, np.uint8))
    assert (planes.luma == expected[0]).all()
    assert (planes.chroma == expected[1:]).all()


def test_ffmpeg_agrees(ffmpeg: str) -> None:
    rng = np.random.default_rng(3)
    image = np.repeat(np.repeat(rng.integers(0, 256, (8, 8, 3), np.uint8), 8, axis=0), 8, axis=1)
    raw = ["-f", "rawvideo", "-pix_fmt", "bgr24", "-s", "64x64", "-i", "-"]
    convert = [
        "-vf",
        "scale=out_color_matrix=bt709:out_range=tv:flags=accurate_rnd+full_chroma_int",
        "-pix_fmt",
        "yuv420p",
    ]
    command = [ffmpeg, "-v", "error", *raw, *convert, "-f", "rawvideo", "-"]
    theirs = subprocess.run(command, input=image.tobytes(), capture_output=True, check=True).stdout
    ours = planes_to_i420(bgr_to_planes(image)).ravel().astype(int)
    difference = np.abs(ours - np.frombuffer(theirs, np.uint8))
    assert difference[: 64 * 64].max() <= 1
    # Of each square's four chroma columns and rows the inner two: at its edge every scaler blurs in its own way.
    chroma = difference[64 * 64 :].reshape(2, 8, 4, 8, 4)
    assert chroma[:, :, 1:3, :, 1:3].max() <= 2


def test_i420_is_one_plane_after_the_other() -> None:
    planes = bgr_to_planes(np.dstack([np.full((4, 8), value, np.uint8) for value in (250, 60, 10)]))
    image = planes_to_i420(planes)
    assert image.shape == (6, 8)
    assert (image[:4] == planes.luma).all()
    assert (image[4].reshape(2, 4) == planes.chroma[..., 0]).all()
    assert (image[5].reshape(2, 4) == planes.chroma[..., 1]).all()


def test_there_and_back_is_the_same_colour() -> None:
    rng = np.random.default_rng(5)
    image = np.repeat(np.repeat(rng.integers(40, 216, (6, 5, 3), np.uint8), 8, axis=0), 8, axis=1)
    back = i420_to_bgr(planes_to_i420(bgr_to_planes(image)))
    assert back.shape == image.shape
    inner = np.abs(back.astype(int) - image).reshape(6, 8, 5, 8, 3)[:, 3:5, :, 3:5]  # chroma is blurred at the edges
    assert inner.max() <= 3


@pytest.mark.parametrize(
    ("size", "height_px", "expected"),
    [
        ((768, 768), 256, (256, 256)),
        ((1920, 1080), 720, (1280, 720)),
        ((1080, 1920), 101, (56, 100)),
        ((100, 300), 99, (32, 100)),  # 33 lies between; to the multiple of four
        ((1000, 10), 10, (1000, 10)),
        ((10, 1000), 20, (2, 20)),
        ((3, 3), 1, (2, 2)),
    ],
)
def test_sizes_are_even_and_keep_the_aspect(size: tuple[int, int], height_px: int, expected: tuple[int, int]) -> None:
    assert even_size(*size, height_px) == expected
