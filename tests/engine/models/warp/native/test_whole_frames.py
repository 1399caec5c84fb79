"""Faces drawn with the native kernel against the same drawn by numpy: with life, over many shapes of the mouth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from fixtures.drawn_face import draw_face, shut_lids
from fixtures.drawn_video import DrawnFrames, talking_avatar
from fixtures.native_kernel import IS_REMAP_EXACT, native_kernel, numpy_alone
from musetalk_cli.engine.avatar.avatar import Avatar
from musetalk_cli.engine.avatar.frames import StillFrames
from musetalk_cli.engine.avatar.landmarks import Landmarks
from musetalk_cli.engine.avatar.portrait import describe_portrait, open_portrait
from musetalk_cli.engine.models.warp.idle.idle_motion import life_at
from musetalk_cli.engine.models.warp.still_avatar import StillAvatarRenderer
from musetalk_cli.engine.models.warp.video_avatar import VideoAvatarRenderer
from musetalk_cli.engine.types.messages import Face

MAX_LEVELS, MEAN_LEVELS = 2 if IS_REMAP_EXACT else 6, 0.05
NUM_FRAMES = 16


def shapes() -> list[NDArray[np.float32]]:
    """Random mouth shapes; every fourth is the mouth at rest, and lips are pressed in a few."""
    rng = np.random.default_rng(3)
    drawn = rng.uniform([0, 0, -1, 0, 0, 0], 1, (NUM_FRAMES, 6)).astype(np.float32)
    drawn[:, 3:5] *= rng.random((NUM_FRAMES, 2)) < 0.3
    drawn[::4] = 0
    return list(drawn)


def still_faces(avatar: Avatar, height_px: int) -> list[Face]:
    face = StillAvatarRenderer(avatar, height_px=height_px, has_idle_motion=True)
    # Blinks come about every 4 s: some of these moments lie within one.
    lives = [life_at(7, 2.9 + 0.05 * index, 1.5, (0.5, 0.3, 0.0)) for index in range(NUM_FRAMES)]
    return [face.render(shape, life) for shape, life in zip(shapes(), lives, strict=True)]


def open_mouthed() -> Avatar:
    image, landmarks = draw_face(8.0, 0.3)
    return Avatar("drawn", StillFrames(image), None, (landmarks,), shut_lids(image, landmarks))


def turned_heads() -> Avatar:
    """Nose tips are moved aside, by a tenth of the eyes' distance to the left to a quarter to the right."""
    avatar = talking_avatar(NUM_FRAMES)
    faces = [{name: points.copy() for name, points in vars(face).items()} for face in avatar.landmarks]
    for groups, aside_px in zip(faces, np.linspace(-13, 33, len(faces)), strict=True):
        groups["nose"][1, 0] += aside_px
    return replace(avatar, landmarks=tuple(map(Landmarks.from_mapping, faces)))


def fallen_heads(degrees: float) -> Avatar:
    """Heads that lie on one side or the other."""
    avatar = talking_avatar(NUM_FRAMES)
    middle = (avatar.width / 2, avatar.height / 2)
    turn = cv2.getRotationMatrix2D(middle, degrees, 0.8)
    images = [cv2.warpAffine(avatar.frames.image(index), turn, (288, 320)) for index in range(NUM_FRAMES)]
    faces = [
        Landmarks.from_mapping({name: points @ turn[:, :2].T + turn[:, 2] for name, points in vars(face).items()})
        for face in avatar.landmarks
    ]
    return replace(avatar, frames=DrawnFrames(images), landmarks=tuple(faces))


def video_faces(avatar: Avatar) -> list[Face]:
    face = VideoAvatarRenderer(avatar)
    images = avatar.frames.read(range(NUM_FRAMES))
    return [face.render(shape, index, images[index]) for index, shape in enumerate(shapes())]


FACES: dict[str, Callable[[], list[Face]]] = {
    "nora": lambda: still_faces(open_portrait(describe_portrait("nora")), 512),
    "theo": lambda: still_faces(open_portrait(describe_portrait("theo")), 384),
    "open-mouth": lambda: still_faces(open_mouthed(), 512),
    "video": lambda: video_faces(talking_avatar()),
    "turned": lambda: video_faces(turned_heads()),
    "fallen-left": lambda: video_faces(fallen_heads(70)),
    "fallen-right": lambda: video_faces(fallen_heads(-140)),
}


@pytest.mark.parametrize("name", FACES)
def test_faces_are_those_of_numpy(name: str) -> None:
    with native_kernel():
        drawn = FACES[name]()
    with numpy_alone():
        expected = FACES[name]()
    for one, other in zip(drawn, expected, strict=True):
        assert one.region == other.region
        for a, b in ((one.planes.luma, other.planes.luma), (one.planes.chroma, other.planes.chroma)):
            away = np.abs(a.astype(int) - b)
            assert away.max() <= MAX_LEVELS
            assert away.mean() <= MEAN_LEVELS
