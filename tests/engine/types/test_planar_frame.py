"""A planar frame is read as its BGR image would be, and only where it is looked at."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from fixtures.clips import portrait_image
from musetalk_cli.engine.types.colour import ByteArray, as_bytes, bgr_to_planes, planes_to_i420
from musetalk_cli.engine.types.planar_frame import PlanarFrame, Plane, part_bgr, sample_bgr, whole_bgr

SIDE = 96


@pytest.fixture(scope="module")
def frame() -> PlanarFrame:
    return PlanarFrame(planes_to_i420(bgr_to_planes(portrait_image(SIDE))))


@pytest.mark.parametrize("low, high", [((0, 0), (SIDE, SIDE)), ((3, 8), (40, 31)), ((50, 7), (51, 8))])
def test_a_part_has_the_pixels_of_the_whole(frame: PlanarFrame, low: tuple[int, int], high: tuple[int, int]) -> None:
    part = part_bgr(frame, np.array(low), np.array(high))
    assert (part == frame.bgr[low[1] : high[1], low[0] : high[0]]).all()
    assert (part_bgr(frame.bgr, np.array(low), np.array(high)) == part).all()


def test_a_sample_of_the_planes_is_near_that_of_the_whole(frame: PlanarFrame) -> None:
    turn = np.array([[0.9, -0.3, 70.25], [0.3, 0.9, 5.5]])

    def crop(plane: Plane) -> ByteArray:
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        size, black = (48, 64), (plane.black,) * 3
        return as_bytes(cv2.warpAffine(plane.pixels, plane.map(turn), size, flags=flags, borderValue=black))

    of_planes, of_whole = sample_bgr(frame, crop), sample_bgr(frame.bgr, crop)
    assert of_planes.shape == of_whole.shape == (64, 48, 3)
    # The whole image repeats each value of a chroma plane, and a sample interpolates them.
    away = np.abs(of_planes.astype(int) - of_whole)
    assert away.mean() < 1.5 and np.percentile(away, 99) < 12
    assert not of_whole[:20, 47].any() and not of_planes[:20, 47].any()


def test_nothing_is_converted_that_is_not_asked_for() -> None:
    frame = PlanarFrame(np.full((SIDE * 3 // 2, SIDE), 128, np.uint8))
    assert frame.shape == (SIDE, SIDE, 3)
    sample_bgr(frame, lambda plane: plane.pixels[:2, :2])
    part_bgr(frame, np.array([2, 2]), np.array([5, 7]))
    assert "bgr" not in vars(frame)
    assert whole_bgr(frame) is whole_bgr(frame) and "bgr" in vars(frame)
