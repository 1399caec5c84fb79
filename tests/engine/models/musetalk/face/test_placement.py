"""Where a face goes: whole chroma samples, nothing outside the mask, and the face in its right place."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from musetalk_cli.engine.avatar.visibility import Area
from musetalk_cli.engine.models.musetalk.face.blend import Box
from musetalk_cli.engine.models.musetalk.face.placement import Placement
from musetalk_cli.engine.types.colour import bgr_to_planes
from musetalk_cli.engine.types.messages import Region, unchanged_face
from musetalk_cli.engine.video.compositing import write_face

FULL = np.full((64, 64), 255, np.uint8)


def lower_half() -> np.ndarray:
    mask = np.zeros((64, 64), np.uint8)
    mask[32:-2, 4:-4] = 255
    return mask


@pytest.mark.parametrize("box", [Box(10, 20, 110, 140), Box(11, 21, 110, 140), Box(11, 21, 112, 142), Box(0, 0, 9, 9)])
def test_the_region_covers_the_box_in_even_numbers(box: Box) -> None:
    region = Placement(box, FULL).region
    assert all(value % 2 == 0 for value in region)
    assert region.left <= box.left < region.left + 2
    assert region.top <= box.top < region.top + 2
    assert 0 <= region.left + region.width - box.right < 2
    assert 0 <= region.top + region.height - box.bottom < 2


@pytest.mark.parametrize("box", [Box(11, 21, 112, 142), Box(10, 20, 110, 140)])
def test_the_mask_is_zero_outside_the_box_and_the_face_lies_in_it(box: Box) -> None:
    face = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    face = cv2.GaussianBlur(face, (31, 31), 0)
    placed = Placement(box, FULL).place(face)
    top, left = box.top - placed.region.top, box.left - placed.region.left
    mask = placed.mask.copy()
    assert mask.shape == placed.planes.luma.shape == (placed.region.height, placed.region.width)
    assert (mask[top : top + box.height, left : left + box.width] == 255).all()
    mask[top : top + box.height, left : left + box.width] = 0
    assert not mask.any()
    alone = bgr_to_planes(cv2.resize(face, (box.width + box.width % 2, box.height + box.height % 2)))
    luma = placed.planes.luma[top : top + box.height, left : left + box.width]
    assert np.abs(luma.astype(int) - alone.luma[: box.height, : box.width]).mean() < 3


def test_only_rows_with_weight_are_in_the_region() -> None:
    region = Placement(Box(100, 50, 228, 178), lower_half()).region
    assert region.top >= 50 + 62
    assert region.top + region.height <= 178
    assert region.left >= 100 + 4


def test_a_weight_thins_the_mask() -> None:
    placement = Placement(Box(100, 50, 228, 178), lower_half())
    face = np.full((256, 256, 3), 90, np.uint8)
    assert placement.place(face).mask.max() == 255
    assert placement.place(face, 0.25).mask.max() == 64
    np.testing.assert_array_equal(placement.place(face, 0.25).planes.luma, placement.place(face).planes.luma)


def test_an_empty_mask_places_nothing() -> None:
    placed = Placement(Box(100, 50, 228, 178), np.zeros((64, 64), np.uint8)).place(np.zeros((256, 256, 3), np.uint8))
    assert placed.region == unchanged_face().region == Region(0, 0, 2, 2)
    assert not placed.mask.any()


@pytest.mark.parametrize("area", [Area(0, 0, 200, 120), Area(31, 41, 97, 121), Area(40, 0, 200, 200), Area(0, 0, 8, 8)])
@pytest.mark.parametrize("box", [Box(10, 20, 110, 140), Box(11, 21, 110, 139)])
def test_nothing_of_a_bar_is_changed(area: Area, box: Box) -> None:
    """Of luma nothing outside the area, of chroma no sample that reaches beyond it."""
    image = np.full((300, 200), 16, np.uint8)
    image[200:] = 128
    before = image.copy()
    write_face(image, Placement(box, FULL, area).place(np.full((256, 256, 3), (40, 90, 200), np.uint8)))
    changed = np.argwhere(image[:200] != before[:200])
    halves = np.argwhere((image[200:] != before[200:]).reshape(2, 100, 100).any(axis=0))
    is_apart = area.right <= box.left
    assert (len(changed) == 0) == (len(halves) == 0) == is_apart
    for points in (changed, halves * 2, halves * 2 + 1):
        assert ((points >= (area.top, area.left)) & (points < (area.bottom, area.right))).all()


def test_an_area_of_the_whole_frame_is_as_none() -> None:
    box, face = Box(11, 21, 110, 140), np.full((256, 256, 3), 90, np.uint8)
    own, other = (Placement(box, FULL, area).place(face) for area in (None, Area.whole(200, 200)))
    assert own.region == other.region
    np.testing.assert_array_equal(own.mask, other.mask)
