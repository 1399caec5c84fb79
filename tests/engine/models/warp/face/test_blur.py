"""How blurred a face is, and that its mouth is drawn as blurred."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from fixtures.clips import portrait_image
from musetalk_cli.engine.avatar.avatar import Avatar
from musetalk_cli.engine.avatar.frames import StillFrames
from musetalk_cli.engine.avatar.portrait import describe_portrait, open_portrait
from musetalk_cli.engine.models.warp.face.blur import measure_blur
from musetalk_cli.engine.models.warp.still_avatar import StillAvatarRenderer
from musetalk_cli.engine.types.colour import bgr_to_planes

SIDE = 512
OPEN = np.array([1, 1, 0, 0, 0, 0], np.float32)


def blurred_portrait(deviation_px: float) -> Avatar:
    portrait = open_portrait(describe_portrait("theo")).resized(SIDE)
    image = portrait_image(SIDE, "theo")
    if deviation_px:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), deviation_px), np.uint8)
    return Avatar("theo", StillFrames(image), None, portrait.landmarks)


def blur_of(avatar: Avatar) -> float:
    return measure_blur([(bgr_to_planes(avatar.frames.image()), avatar.landmarks[0])])


def test_a_sharp_image_is_not_blurred() -> None:
    assert blur_of(blurred_portrait(0)) == 0
    assert measure_blur([]) == 0


@pytest.mark.parametrize("deviation_px", [1.5, 3.0])
def test_the_blur_of_an_image_is_found(deviation_px: float) -> None:
    assert blur_of(blurred_portrait(deviation_px)) == pytest.approx(deviation_px, rel=0.3)


def test_a_face_without_edges_counts_as_sharp() -> None:
    flat = blurred_portrait(0)
    planes = bgr_to_planes(np.full((SIDE, SIDE, 3), 90, np.uint8))
    assert measure_blur([(planes, flat.landmarks[0])]) == 0


def test_teeth_are_as_blurred_as_the_face() -> None:
    steepest = []
    for deviation_px in (0.0, 3.0):
        avatar = blurred_portrait(deviation_px)
        renderer = StillAvatarRenderer(avatar, height_px=SIDE, has_idle_motion=False)
        luma = renderer.render(OPEN).planes.luma.astype(np.float32)
        steepest.append(float(np.abs(cv2.Sobel(luma, cv2.CV_32F, 0, 1, ksize=1, scale=0.5)).max()))
    assert steepest[1] < 0.6 * steepest[0]
