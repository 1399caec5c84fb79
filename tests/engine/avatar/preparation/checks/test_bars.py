"""Bars are told from plain backdrops."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from fixtures.clips import portrait_image
from musetalk_cli.engine.avatar.preparation.checks.bars import common_area, image_area
from musetalk_cli.engine.avatar.visibility import Area
from musetalk_cli.engine.types.colour import ByteArray, bgr_to_planes, planes_to_i420
from musetalk_cli.engine.types.planar_frame import PlanarFrame

SIDE = 256


def barred(top: int = 0, bottom: int = 0, left: int = 0, right: int = 0, level: int = 0) -> ByteArray:
    image = portrait_image(SIDE).copy()
    image[:top] = image[SIDE - bottom :] = level
    image[:, :left] = image[:, SIDE - right :] = level
    return image


@pytest.mark.parametrize("level", [0, 16, 255])
def test_bars_are_measured(level: int) -> None:
    assert image_area(barred(30, 40, level=level)) == Area(0, 30, SIDE, SIDE - 40)
    assert image_area(barred(left=20, right=50, level=level)) == Area(20, 0, SIDE - 50, SIDE)


def test_an_image_without_bars_is_whole() -> None:
    whole = Area.whole(SIDE, SIDE)
    assert image_area(portrait_image(SIDE)) == whole
    assert image_area(np.zeros((SIDE, SIDE, 3), np.uint8)) == whole


def test_a_head_before_a_plain_backdrop_has_no_bars() -> None:
    mask = cv2.ellipse(np.zeros((SIDE, SIDE, 1), np.uint8), (128, 120), (50, 80), 0, 0, 360, (1,), -1)
    image = np.where(mask, portrait_image(SIDE), np.uint8(255))
    assert image_area(image) == Area.whole(SIDE, SIDE)


def test_what_any_frame_shows_counts() -> None:
    areas = [image_area(barred(30, 40)), image_area(barred(10, 50))]
    assert common_area(areas, SIDE, SIDE) == Area(0, 10, SIDE, SIDE - 40)
    assert common_area([], 8, 6) == Area.whole(8, 6)


def test_the_bars_of_a_planar_frame_are_the_same() -> None:
    image = barred(30, 40, 20, 6)
    assert image_area(PlanarFrame(planes_to_i420(bgr_to_planes(image)))) == image_area(image)
