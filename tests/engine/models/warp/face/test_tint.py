"""The inside of a mouth has no colours that its image does not have."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.avatar import Avatar
from musetalk_cli.engine.avatar.frames import StillFrames
from musetalk_cli.engine.avatar.portrait import describe_portrait, load_portrait
from musetalk_cli.engine.models.warp.face.tint import measure_tint
from musetalk_cli.engine.models.warp.still_avatar import StillAvatarRenderer
from musetalk_cli.engine.types.colour import ByteArray, as_bytes, bgr_to_planes

OPEN = np.array([1, 1, 0, 0, 0, 0], np.float32)
SIDE = 512


def scaled(name: str, grade: Callable[[ByteArray], ByteArray]) -> Avatar:
    portrait = load_portrait(describe_portrait(name))
    image = as_bytes(cv2.resize(portrait.image, (SIDE, SIDE), interpolation=cv2.INTER_AREA))
    small = Avatar(name, StillFrames(portrait.image), None, (portrait.landmarks,)).resized(SIDE)
    return Avatar(name, StillFrames(grade(image)), None, small.landmarks)


def mix(image: ByteArray, black: tuple[int, ...], white: tuple[int, ...], share: float = 1.0) -> ByteArray:
    """An image whose greys run from one BGR colour to another, mixed with the original."""
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[..., None] / 255
    toned = np.array(black) * (1 - grey) + np.array(white) * grey
    return as_bytes((image * (1 - share) + toned * share).round())


def compressed(image: ByteArray) -> ByteArray:
    return as_bytes(cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_COLOR))


def grey(image: ByteArray) -> ByteArray:
    return compressed(mix(image, (0, 0, 0), (255, 255, 255)))


def sepia(image: ByteArray) -> ByteArray:
    return compressed(mix(image, (10, 20, 30), (170, 220, 250)))


def duotone(image: ByteArray) -> ByteArray:
    return compressed(mix(image, (90, 30, 20), (150, 220, 255)))


def nearly_grey(image: ByteArray) -> ByteArray:
    return compressed(mix(image, (0, 0, 0), (255, 255, 255), 0.85))


def blue(image: ByteArray) -> ByteArray:
    return as_bytes(np.clip(image * np.array([1.35, 0.95, 0.65]), 0, 255))


def interior(avatar: Avatar) -> NDArray[np.int_]:
    """Cb and Cr less 128, (n, 2), of what an open mouth shows and the image does not, in dark places."""
    face = StillAvatarRenderer(avatar, height_px=SIDE, has_idle_motion=False)
    made = face.render(OPEN)
    outline = avatar.landmarks[0]
    middle = outline.inner_lower_lip[5] - (made.region.left, made.region.top)
    x, y = (int(value) for value in middle / 2)
    dark = made.planes.luma[2 * y : 2 * y + 30, 2 * x - 20 : 2 * x + 20].reshape(15, 2, 20, 2).mean(axis=(1, 3)) < 60
    assert dark.sum() > 30
    return made.planes.chroma[y : y + 15, x - 10 : x + 10][dark].astype(int) - 128


@pytest.mark.parametrize("name", ["nora", "theo"])
def test_a_natural_face_has_no_tint_and_a_red_mouth(name: str) -> None:
    avatar = scaled(name, lambda image: image)
    planes = bgr_to_planes(avatar.frames.image())
    assert measure_tint([(planes, avatar.landmarks[0])]) is None
    assert interior(avatar)[:, 1].mean() > 8


@pytest.mark.parametrize("name", ["nora", "theo"])
def test_a_grey_face_gets_a_grey_mouth(name: str) -> None:
    assert np.abs(interior(scaled(name, grey))).max() <= 1


@pytest.mark.parametrize("tongue", [0.66, 1.0])
def test_the_tongue_of_a_grey_face_is_grey(tongue: float) -> None:
    avatar = scaled("nora", grey)
    face = StillAvatarRenderer(avatar, height_px=SIDE, has_idle_motion=False)
    made = face.render(np.array([1, 1, 0, 0, 0, tongue], np.float32))
    x, y = ((avatar.landmarks[0].inner_lower_lip[5] - (made.region.left, made.region.top)) / 2).astype(int)
    assert np.abs(made.planes.chroma[y : y + 15, x - 10 : x + 10].astype(int) - 128).max() <= 2


@pytest.mark.parametrize("name", ["nora", "theo"])
@pytest.mark.parametrize("grade", [sepia, duotone])
def test_a_toned_face_gets_a_mouth_of_its_own_dark_tone(name: str, grade: Callable[[ByteArray], ByteArray]) -> None:
    avatar = scaled(name, grade)
    planes = bgr_to_planes(avatar.frames.image())
    dark = planes.luma.reshape(256, 2, 256, 2).mean(axis=(1, 3)) < 60
    tone = np.median(planes.chroma[dark], axis=0).astype(int) - 128
    assert np.abs(np.median(interior(avatar), axis=0) - tone).max() <= 5


def test_a_faded_face_gets_a_faded_mouth() -> None:
    assert 0 <= interior(scaled("nora", nearly_grey))[:, 1].mean() < 4


def test_a_colour_cast_is_taken_on() -> None:
    natural, cast = (
        interior(scaled("nora", lambda image: image)).mean(axis=0),
        interior(scaled("nora", blue)).mean(axis=0),
    )
    assert cast[0] > natural[0]
    assert cast[1] < natural[1]


def test_a_tiny_face_does_no_harm() -> None:
    avatar = scaled("nora", grey).resized(16)
    planes = bgr_to_planes(avatar.frames.image())
    assert measure_tint([(planes, avatar.landmarks[0])]) is None
