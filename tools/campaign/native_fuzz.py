"""Random sizes, shapes and values for the native kernel: it may answer with anything, but touches only its arrays.

    python -m tools.campaign.native_fuzz [--seed 0] [--seconds 60]

``python -m tools.campaign.sanitizers`` runs it with a library that notices. Without that, a fault ends the process, and
stages are compared with numpy's where their values are ordinary. The exit code is 1 where there is no library or they
differ.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fixtures.drawn_face import draw_face, shut_lids
from fixtures.native_kernel import numpy_alone, without_avx2, without_windows
from musetalk_cli.engine.avatar.avatar import Avatar
from musetalk_cli.engine.avatar.frames import StillFrames, resize_i420, resize_image, resize_plane
from musetalk_cli.engine.models.warp.face.region_map import RegionMap, blend_layer
from musetalk_cli.engine.models.warp.face.sampling import Box, Grid, UpsampledImage, crop_planes
from musetalk_cli.engine.models.warp.idle.life import LifeState
from musetalk_cli.engine.models.warp.native.eyes import LINES, EyeDrawer
from musetalk_cli.engine.models.warp.still_avatar import StillAvatarRenderer
from musetalk_cli.engine.native.library import find
from musetalk_cli.engine.native.shrinking import MAX_TIMES
from musetalk_cli.engine.types.colour import Planes
from musetalk_cli.engine.types.messages import FloatArray, Region
from musetalk_cli.engine.video.compositing import write_face
from tools.campaign.native_fuzz_mouth import STAGES

WILD = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e9, -1e9, 2.0**31, -(2.0**31), 0.0], np.float32)
MAX_LEVELS = 2
WIDEST_PX = 1300  # some rows are longer than what is worked on at a time, twice

Random = np.random.Generator


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=60)
    args = parser.parse_args()
    found = find()
    if found.library is None:
        print(found.describe())
        return 1
    return fuzz(args.seed, args.seconds)


def fuzz(seed: int, duration_s: float) -> int:
    """Take turns until the time is over; returns the exit code."""
    stages: list[Callable[[Random], None]] = [
        fuzz_region,
        fuzz_region,
        fuzz_layer,
        fuzz_crop,
        fuzz_shrinking,
        fuzz_eye,
        fuzz_face,
        *STAGES,
    ]
    began_s, count = time.monotonic(), 0
    while time.monotonic() - began_s < duration_s:
        rng = np.random.default_rng((seed, count))
        try:
            stages[count % len(stages)](rng)
        except AssertionError as error:
            print(f"case {count} of seed {seed}: {error}")
            return 1
        count += 1
    print(f"{count} cases held")
    return 0


def fuzz_region(rng: Random) -> None:
    """A region of any size, on a grid of any cells, from an image of any size."""
    image, region = random_image(rng), random_region(rng)
    grid = Grid(region, int(2 * rng.integers(1, 17)))
    positions, is_wild = random_positions(rng, grid.nodes)
    lips_px = random_box(rng, region.height, region.width) if rng.random() < 0.7 else None
    lips = None
    if lips_px is not None:
        size = tuple(span.stop - span.start for span in lips_px)
        lips, are_wild = random_positions(rng, rng.uniform(-9, 99, (*size, 2)))
        is_wild |= are_wild
    mapped = RegionMap(grid, positions, lips, lips_px)
    drawn = mapped.sample(image)
    with without_windows():
        expected = mapped.sample(image)
    assert (drawn.luma == expected.luma).all() and (drawn.chroma == expected.chroma).all(), "windows change bytes"
    if not is_wild:
        with numpy_alone():
            assert_alike(drawn, RegionMap(grid, positions, lips, lips_px).sample(image))


def fuzz_layer(rng: Random) -> None:
    """A layer over a box of any size."""
    image, region = random_image(rng), random_region(rng)
    planes = random_planes(rng, region.height, region.width)
    box = random_box(rng, region.height, region.width)
    size = tuple(span.stop - span.start for span in box)
    positions, _ = random_positions(rng, rng.uniform(-9, 99, (*size, 2)))
    blend_layer(planes, box, positions, rng.random(size, np.float32), image)


def fuzz_crop(rng: Random) -> None:
    """A part of an I420 image, upsampled."""
    height, width = (2 * rng.integers(1, 60, 2)).tolist()
    image = rng.integers(0, 256, (height * 3 // 2, width), dtype=np.uint8)
    rows, columns = random_box(rng, height, width)
    region = Region(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
    cropped = crop_planes(image, region)
    with numpy_alone():
        expected = crop_planes(image, region)
        doubled = UpsampledImage.of(expected).luma
    assert np.array_equal(cropped.chroma, expected.chroma), "chroma is not numpy's"
    taken, whole = UpsampledImage.of_region(image, region), UpsampledImage.of(cropped)
    assert np.array_equal(taken.chroma, whole.chroma) and np.array_equal(taken.luma, whole.luma), "not what is cropped"
    with without_avx2():
        assert np.array_equal(whole.luma, UpsampledImage.of(cropped).luma), "AVX2 changes bytes"
    away = int(np.abs(whole.luma.astype(int) - doubled).max())
    assert away <= 1, f"upsampled luma is {away} levels away from numpy's"


def fuzz_shrinking(rng: Random) -> None:
    """A frame of any size made smaller, now and then a wide or a high one."""
    size = 2 * rng.integers(1, rng.choice([20, 100, 400, 1100], 2))
    least = np.maximum(-(-size // (2 * MAX_TIMES)), 1)
    width, height = (size if rng.random() < 0.1 else 2 * rng.integers(least, size // 2 + 1)).tolist()
    image = rng.integers(0, 256, (size[1] * 3 // 2, size[0]), dtype=np.uint8)
    image = np.where(image < 128, 0, 255).astype(np.uint8) if rng.random() < 0.3 else image
    drawn = resize_i420(image, width, height)
    with without_avx2():
        assert np.array_equal(drawn, resize_i420(image, width, height)), "AVX2 changes bytes"
    with numpy_alone():
        away = int(np.abs(drawn.astype(int) - resize_i420(image, width, height)).max())
    plane, smaller = image[: size[1] - 1, : size[0] // 2].copy(), (max(width // 2, 1), height - 1)
    away = max(away, int(np.abs(resize_plane(plane, *smaller).astype(int) - resize_image(plane, *smaller)).max()))
    assert away <= 1, f"a frame of {size.tolist()} made {[width, height]} is {away} levels away from OpenCV's"


def fuzz_eye(rng: Random) -> None:
    """An eye of any shape, somewhere on a plane of luma or chroma."""
    height, width = rng.integers(1, 60, 2).tolist()
    shape = (height, width) if rng.random() < 0.5 else (height, width, 2)
    opened, shut = (rng.integers(0, 256, shape, dtype=np.uint8) for _ in range(2))
    top, left = int(rng.integers(0, height)), int(rng.integers(0, width))
    rows, columns = int(rng.integers(1, height - top + 1)), int(rng.integers(1, width - left + 1))
    lines = {name: random_positions(rng, rng.uniform(-2, 2, (rows, columns)))[0] for name in LINES}
    down = random_positions(rng, rng.uniform(-9, 9, 2))[0]
    drawer = EyeDrawer(lines, (top, left), half_width=9.0, edge=0.1, down=down)
    drawn = opened.copy()
    drawer.draw(drawn, opened, shut, float(rng.uniform(-1, 2)), (float(rng.uniform(-9, 9)), float(rng.choice(WILD))))
    drawn[top : top + rows, left : left + columns] = opened[top : top + rows, left : left + columns]
    assert np.array_equal(drawn, opened), "an eye was drawn outside of its box"


def fuzz_face(rng: Random) -> None:
    """A whole face of any size, mouth open or shut, in any shape, with any life."""
    image, landmarks = draw_face(float(rng.uniform(-12, 12)), float(rng.choice([0.0, 0.1, 0.3])))
    avatar = Avatar("drawn", StillFrames(image), None, (landmarks,), shut_lids(image, landmarks))
    height_px = int(2 * rng.integers(16, 400))
    face = StillAvatarRenderer(avatar, height_px=height_px, has_idle_motion=rng.random() < 0.7)
    shown = avatar.resized(height_px).frames.read([0])[0]
    shapes, lives = zip(*(random_state(rng) for _ in range(3)), strict=True)
    frames = face.draw(np.stack(shapes), lives, [shown] * len(shapes))
    for frame, shape, life in zip(frames, shapes, lives, strict=True):
        drawn = shown.copy()
        write_face(drawn, face.render(shape, life))
        assert np.array_equal(frame, drawn), "a frame is not its face composited"


def random_state(rng: Random) -> tuple[FloatArray, LifeState]:
    """A mouth's shape (6,), within its ranges or not, and what else a face does."""
    shape = rng.uniform([0, 0, -1, 0, 0, 0], 1, 6).astype(np.float32)
    if rng.random() < 0.3:
        shape *= rng.choice([0.0, rng.uniform(1, 4)])
    turned = rng.normal(0, 0.1, 3)
    life = LifeState(yaw=turned[0], pitch=turned[1], roll=turned[2], brows=float(rng.uniform(-1, 2)))
    lids, gaze = rng.uniform(-0.2, 1.2, 2).tolist(), rng.uniform(-1.5, 1.5, 2).tolist()
    return shape, replace(life, left_lid=lids[0], right_lid=lids[1], gaze_x=gaze[0], gaze_y=gaze[1])


def random_planes(rng: Random, height: int, width: int) -> Planes:
    """Slopes without noise: positions that differ by 1/32 pixel show the same."""
    rows, columns = np.mgrid[:height, :width]
    luma = 128 + 60 * np.sin(rows * rng.uniform(-0.1, 0.1) + columns * rng.uniform(-0.1, 0.1))
    chroma = np.stack([luma[::2, ::2] / 2, 255 - luma[::2, ::2]], axis=-1)
    return Planes(luma.astype(np.uint8), chroma.astype(np.uint8))


def random_image(rng: Random) -> UpsampledImage:
    return UpsampledImage.of(random_planes(rng, *(2 * rng.integers(2, 120, 2)).tolist()))


def random_region(rng: Random) -> Region:
    """Even sides; one in ten is wide."""
    height, width = (2 * rng.integers(1, 80, 2)).tolist()
    if rng.random() < 0.1:
        height, width = 2 * int(rng.integers(1, 10)), 2 * int(rng.integers(250, WIDEST_PX // 2))
    left, top = (2 * rng.integers(0, 50, 2)).tolist()
    return Region(left, top, width, height)


def random_box(rng: Random, height: int, width: int) -> Box:
    """Rows and columns, even, at least two of each."""
    spans = []
    for extent in (height, width):
        start = 2 * int(rng.integers(0, extent // 2))
        spans.append(slice(start, start + 2 * int(rng.integers(1, (extent - start) // 2 + 1))))
    return spans[0], spans[1]


def random_positions(rng: Random, values: NDArray[np.floating]) -> tuple[NDArray[np.float32], bool]:
    """Values a little off, and whether some of them are beyond all bounds."""
    moved = (values + rng.normal(0, rng.choice([0.1, 3]), values.shape)).astype(np.float32)
    is_wild = bool(rng.random() < 0.4)
    if is_wild:
        chosen = rng.random(values.shape) < rng.choice([0.01, 0.3, 1.0])
        moved[chosen] = rng.choice(WILD, int(chosen.sum()))
    return moved, is_wild


def assert_alike(one: Planes, other: Planes) -> None:
    for name, a, b in (("luma", one.luma, other.luma), ("chroma", one.chroma, other.chroma)):
        away = int(np.abs(a.astype(int) - b).max(initial=0))
        assert away <= MAX_LEVELS, f"{name} is {away} levels away from numpy's"


if __name__ == "__main__":
    sys.exit(main())
