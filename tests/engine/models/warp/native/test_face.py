"""A whole face in one call of C: arguments, and threads. That it is numpy's face, test_whole_frames.py shows."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from fixtures.drawn_face import draw_face
from fixtures.native_kernel import native_kernel
from musetalk_cli.engine.avatar.avatar import Avatar
from musetalk_cli.engine.avatar.frames import StillFrames, resize_image
from musetalk_cli.engine.models.warp.face.mouth_warp import clean_shape
from musetalk_cli.engine.models.warp.face.sampling import Grid
from musetalk_cli.engine.models.warp.idle.life import LifeState
from musetalk_cli.engine.models.warp.native.face import EyesOnGrid, FaceState, NativeFace, NativeImage
from musetalk_cli.engine.models.warp.still_avatar import StillAvatarRenderer
from musetalk_cli.engine.native.library import load
from musetalk_cli.engine.types.colour import even_size
from musetalk_cli.engine.types.messages import Region
from musetalk_cli.engine.video.compositing import write_face

REGION = Region(4, 2, 60, 40)
OPEN = np.array([0.8, 0.6, -0.2, 0, 0.1, 0.7], np.float32)


@pytest.fixture(autouse=True)
def kernel() -> Iterator[None]:
    with native_kernel():
        yield


def face_on(grid: Grid, **more: object) -> NativeFace:
    library = load()
    assert library is not None
    changed = {"nodes": grid.nodes, "cell_px": grid.cell_px, "region": grid.region, **more}
    return NativeFace(library, **changed)  # type: ignore[arg-type]


def still(height_px: int, gap: float) -> StillAvatarRenderer:
    image, landmarks = draw_face(3.0, gap)
    return StillAvatarRenderer(
        Avatar("drawn", StillFrames(image), None, (landmarks,)), height_px=height_px, has_idle_motion=True
    )


def pixels_of(face: StillAvatarRenderer, step: int) -> NDArray[np.uint8]:
    life = LifeState(yaw=0.01 * step, roll=0.002 * step, left_lid=0.1 * step, brows=0.2)
    planes = face.render(OPEN * np.float32(0.1 * step), life).planes
    return np.concatenate([planes.luma.ravel(), planes.chroma.ravel()])


def test_threads_draw_faces_of_several_sizes_at_once() -> None:
    faces = [still(height, gap) for height, gap in ((200, 0.0), (340, 0.2), (260, 0.0))]
    work = [(face, step) for step in range(10) for face in faces]
    alone = [pixels_of(*each) for each in work]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda each: pixels_of(*each), work))
    assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))


@pytest.mark.parametrize("height_px, gap", [(96, 0.0), (340, 0.2)])
def test_frames_are_their_faces_composited(height_px: int, gap: float) -> None:
    face = still(height_px, gap)
    image, _ = draw_face(3.0, gap)
    shown = StillFrames(resize_image(image, *even_size(image.shape[1], image.shape[0], height_px))).read([0])[0]
    steps = (0, 4, 0, 9, 4)  # at rest and not, in any order
    # What is outside has to be each frame's own.
    noise = [np.random.default_rng(n).integers(0, 256, shown.shape, np.uint8) for n in range(len(steps))]
    lives = [LifeState(yaw=0.01 * step, left_lid=0.1 * step) for step in steps]
    mouths = np.stack([OPEN * np.float32(0.1 * step) for step in steps])
    composited = [each.copy() for each in noise]
    for frame, mouth, life in zip(composited, mouths, lives, strict=True):
        write_face(frame, face.render(mouth, life))
    for each in noise:
        each.flags.writeable = False
    drawn = face.draw(mouths, lives, noise)
    assert len(drawn) == len(steps)
    assert all(np.array_equal(one, other) for one, other in zip(drawn, composited, strict=True))


def test_a_frame_that_does_not_hold_the_region_is_refused() -> None:
    face, rest = still(200, 0.0), LifeState()
    good = np.zeros((300, 400), np.uint8)
    with pytest.raises(ValueError, match="is not within"):
        face.draw(np.stack([OPEN, OPEN]), [rest, rest], [good, np.zeros((150, 100), np.uint8)])
    with pytest.raises(ValueError, match="needs a contiguous"):
        face.draw(OPEN[None], [rest], [np.zeros((900, 1201), np.uint8)[:, ::2]])


def test_as_many_faces_as_frames_are_asked_for() -> None:
    face = still(200, 0.0)
    with pytest.raises(ValueError, match="2 faces, and 1 frames"):
        face.draw(np.stack([OPEN, OPEN]), [LifeState()] * 2, [np.zeros((300, 400), np.uint8)])
    with pytest.raises(ValueError, match=r"shorter|longer"):
        face.draw(OPEN[None], [LifeState()] * 2, [np.zeros((300, 400), np.uint8)] * 2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"cell_px": 5},
        {"cell_px": 256},
        {"region": Region(0, 0, 400, 40)},
        {"region": Region(-4, -4000, 60, 40)},
        {"region": Region(4, 3, 60, 40)},
        {"nodes": np.zeros((12, 14, 3), np.float32)},
        {"nodes": np.zeros((12, 14, 2))},
        {"basis": np.zeros((5, 3, 3), np.float32)},
        {"eyes": EyesOnGrid((0, 0, 4, 4), (slice(0, 400), slice(0, 2)))},
    ],
    ids=str,
)
def test_a_grid_that_c_would_leave_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"needs|does not cover|no box|not even"):
        face_on(Grid(REGION, 6), **wrong)


def test_a_small_image_and_fields_of_other_nodes_are_refused() -> None:
    with pytest.raises(ValueError, match="too small"):
        NativeImage(np.zeros((6, 80), np.uint8), np.zeros((1, 20, 2), np.uint8))
    large, small = still(340, 0.0), still(200, 0.0)
    (motion,) = small._mouth.motions(clean_shape(OPEN)[None], np.eye(2, 3, dtype=np.float32)[None])
    object.__setattr__(motion, "mouth", large._mouth.native)
    assert large._native is not None
    face, image = large._native
    with pytest.raises(ValueError, match="needs a contiguous"):
        face.draw(FaceState(image, motion))
