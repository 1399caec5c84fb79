"""The jaw blend against Pillow, which upstream blends with, and against the described masks."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from musetalk_cli.engine.models.musetalk.face.blend import (
    BLUR_OFFLINE,
    MOUTH,
    NOSE,
    SKIN,
    Box,
    JawBlend,
    crop_box,
    jaw_mask,
    soften,
)
from musetalk_cli.engine.models.musetalk.face.pillow_resize import resize_bicubic, resize_bilinear

FACES = [Box(150, 100, 350, 340), Box(2, 3, 161, 200), Box(420, 250, 640, 480)]


def image(height: int, width: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (5, 5), 0)


def mask_of(crop: Box, seed: int = 1) -> np.ndarray:
    """Every weight from 0 to 255, in soft blobs."""
    noise = np.random.default_rng(seed).integers(0, 256, (crop.height // 16 + 2, crop.width // 16 + 2), dtype=np.uint8)
    return cv2.resize(noise, (crop.width, crop.height), interpolation=cv2.INTER_CUBIC)


def paste_by_pillow(frame: np.ndarray, face: np.ndarray, box: Box, crop: Box, mask: np.ndarray) -> np.ndarray:
    """Upstream's way: the face into the cut-out crop, the crop through the mask into the whole frame."""
    pillow_image = pytest.importorskip("PIL.Image", reason="needs Pillow to compare with")
    body = pillow_image.fromarray(frame)
    large = body.crop(tuple(crop))
    resized = cv2.resize(face, (box.width, box.height), interpolation=cv2.INTER_LINEAR)
    large.paste(pillow_image.fromarray(resized), (box.left - crop.left, box.top - crop.top))
    body.paste(large, (crop.left, crop.top), pillow_image.fromarray(mask))
    return np.array(body)


@pytest.mark.parametrize("box", FACES)
def test_the_blend_is_pillows_to_the_last_bit(box: Box) -> None:
    frame, face, crop = image(480, 640), image(256, 256, seed=2), crop_box(box)
    mask = mask_of(crop)
    blend = JawBlend(frame, box, crop, mask)
    mine = frame.copy()
    left, top, right, bottom = blend.region
    mine[top:bottom, left:right] = blend.blend(face)
    assert (mine != frame).mean() > 0.05
    np.testing.assert_array_equal(mine, paste_by_pillow(frame, face, box, crop, mask))


def test_a_mask_that_is_zero_changes_nothing() -> None:
    box = FACES[0]
    crop = crop_box(box)
    blend = JawBlend(image(480, 640), box, crop, np.zeros((crop.height, crop.width), np.uint8))
    assert blend.region.width * blend.region.height == 0
    assert blend.blend(image(256, 256)).size == 0


def test_only_the_region_with_weight_is_blended() -> None:
    box = FACES[0]
    crop = crop_box(box)
    mask = np.zeros((crop.height, crop.width), np.uint8)
    mask[box.top + 130 - crop.top : box.top + 190 - crop.top, box.left + 40 - crop.left : box.left + 90 - crop.left] = 9
    blend = JawBlend(image(480, 640), box, crop, mask)
    assert blend.region == (box.left + 40, box.top + 130, box.left + 90, box.top + 190)


def test_the_crop_is_a_square_around_the_face() -> None:
    assert crop_box(Box(10, 20, 111, 220)) == (60 - 150, 120 - 150, 60 + 150, 120 + 150)
    assert crop_box(Box(0, 0, 100, 101), expansion=1.2) == (50 - 60, 50 - 60, 50 + 60, 50 + 60)


def test_a_single_spot_of_skin_grows_up_more_than_down() -> None:
    """Measured on upstream's kernel: 16 px up, 6 px down, 10 px to each side; the cheeks lose 34 px at each side."""
    classes = np.zeros((512, 512), np.uint8)
    classes[300, 256] = SKIN
    rows, columns = np.nonzero(jaw_mask(classes))
    assert (rows.min(), rows.max()) == (300 - 16, 300 + 6)
    assert (columns.min(), columns.max()) == (256 - 10, 256 + 10)


def test_the_cheeks_lose_their_sides_and_the_nose_is_left_out() -> None:
    classes = np.zeros((512, 512), np.uint8)
    classes[200:400, 60:460] = SKIN
    classes[220:260, 240:270] = NOSE
    classes[330:350, 230:280] = MOUTH
    mask = jaw_mask(classes)
    assert mask[300, 60 - 10 + 34] == 255
    assert mask[300, 60 - 10 + 33] == 0
    assert mask[230, 250] == 0
    assert mask[340, 250] == 255
    assert mask[195, 256] == 255
    assert mask[185, 256] == 255
    assert mask[185, 100] == 0


def test_the_soft_mask_keeps_the_lower_half_of_the_face_box() -> None:
    face = Box(140, 100, 340, 300)
    crop = crop_box(face)
    full = np.full((crop.height, crop.width), 255, np.uint8)
    prepared, offline = soften(full, face, crop), soften(full, face, crop, BLUR_OFFLINE)
    line = crop.height // 2
    for mask, kernel in ((prepared, 31), (offline, 15)):
        changed_rows = np.flatnonzero(mask.any(axis=1))
        assert changed_rows[0] >= line - kernel // 2
        assert mask[line + 60, crop.width // 2] == 255
        edge = face.left - crop.left
        assert 100 < mask[line + 60, edge] < 155
        assert mask[line + 60, edge - kernel // 2 - 1] == 0


@pytest.mark.parametrize("size", [(480, 480), (333, 301), (512, 512), (700, 900), (37, 1024)])
def test_resizing_is_pillows_to_the_last_bit(size: tuple[int, int]) -> None:
    pillow_image = pytest.importorskip("PIL.Image", reason="needs Pillow to compare with")
    mask = mask_of(Box(0, 0, 512, 512))
    mask[100:300, 100:300] = 255
    mask[150:250, 150:250] = 0
    np.testing.assert_array_equal(resize_bicubic(mask, *size), np.array(pillow_image.fromarray(mask).resize(size)))
    coloured = image(411, 411)
    wanted = pillow_image.fromarray(coloured).resize(size, pillow_image.Resampling.BILINEAR)
    np.testing.assert_array_equal(resize_bilinear(coloured, *size), np.array(wanted))
