"""Detail of the frame's own face reaches a generated one where both look alike, and moves along."""

from __future__ import annotations

import cv2
import numpy as np

from musetalk_cli.engine.models.musetalk.face.blend import Box, crop_face, resize_face
from musetalk_cli.engine.models.musetalk.face.detail import FaceDetail, is_enlarged
from musetalk_cli.engine.models.musetalk.face.placement import Placements, num_cached
from musetalk_cli.engine.types.colour import ByteArray, as_bytes, bgr_to_luma
from musetalk_cli.engine.types.messages import Region

SIDE, SCALE = 64, 3
BOX = Box(20, 30, 20 + SIDE * SCALE, 30 + SIDE * SCALE)
REGION = Region(40, 120, 140, 90)
INNER = np.s_[8:-8, 8:-8]


def noise(size: int, sigma: float, seed: int, levels: float) -> np.ndarray:
    values = cv2.GaussianBlur(np.random.default_rng(seed).normal(size=(size, size)).astype(np.float32), (0, 0), sigma)
    return np.asarray(values * (levels / values.std()))


def textured(shift_px: int = 0) -> ByteArray:
    """A grey face with large shapes and fine grain, both moved to the right."""
    both = 120 + noise(320, 12, 0, 30) + noise(320, 0.8, 1, 8)
    return as_bytes(np.repeat(np.roll(both, shift_px, axis=1).clip(0, 255)[..., None], 3, axis=2))


def face_of(image: ByteArray) -> ByteArray:
    part = image[BOX.top : BOX.bottom, BOX.left : BOX.right]
    return as_bytes(cv2.resize(part, (SIDE, SIDE), interpolation=cv2.INTER_AREA))


def shown(image: ByteArray) -> ByteArray:
    left, top, width, height = REGION
    return bgr_to_luma(image[top : top + height, left : left + width])


def enlarged(face: ByteArray) -> ByteArray:
    whole = resize_face(face, BOX.width, BOX.height)
    left, top = REGION.left - BOX.left, REGION.top - BOX.top
    return bgr_to_luma(whole[top : top + REGION.height, left : left + REGION.width])


def difference(a: ByteArray, b: ByteArray) -> float:
    return float(np.abs(a.astype(float) - b)[INNER].mean())


def test_the_frames_own_face_comes_back_whole() -> None:
    image = textured()
    face = face_of(image)
    soft = enlarged(face)
    sharp = FaceDetail(image, BOX, REGION, face).add(soft, face)
    assert difference(sharp, shown(image)) < 0.25 * difference(soft, shown(image))


def test_detail_moves_with_the_face() -> None:
    image, moved = textured(), textured(2 * SCALE)
    soft = enlarged(face_of(moved))
    sharp = FaceDetail(image, BOX, REGION, face_of(image)).add(soft, face_of(moved))
    assert difference(sharp, shown(moved)) < 0.5 * difference(soft, shown(moved))


def test_nothing_is_added_to_what_looks_otherwise() -> None:
    image = textured()
    other = as_bytes(np.full((SIDE, SIDE, 3), 20))
    soft = enlarged(other)
    assert difference(FaceDetail(image, BOX, REGION, face_of(image)).add(soft, other), soft) < 0.2


def test_a_region_may_leave_the_box_by_a_pixel() -> None:
    image = textured()
    region = Region(BOX.left - 1, BOX.top - 1, BOX.width + 2, BOX.height + 2)
    luma = np.full((region.height, region.width), 128, np.uint8)
    assert FaceDetail(image, BOX, region, face_of(image)).add(luma, face_of(image)).shape == luma.shape


class Frames:
    """One frame, larger than faces are generated."""

    width = height = 800
    num_frames = 1

    def read(self, indices: object) -> list[ByteArray]:
        raise AssertionError("not asked for")

    def image(self, index: int = 0) -> ByteArray:
        return as_bytes(cv2.resize(textured(), (800, 800), interpolation=cv2.INTER_NEAREST))

    def close(self) -> None:
        pass


def test_what_is_cached_has_a_bound() -> None:
    assert num_cached(np.array([[0, 0, 100, 100]]), has_detail=True) == 512
    assert num_cached(np.array([[0, 0, 100, 100], [0, 0, 500, 800]]), has_detail=False) == 320
    assert num_cached(np.array([[0, 0, 500, 800]]), has_detail=True) == 160
    assert num_cached(np.array([[0, 0, 2000, 2000]]), has_detail=True) == 32
    assert num_cached(np.zeros((0, 4), np.int32), has_detail=True) == 512


def test_only_enlarged_faces_get_detail() -> None:
    boxes = np.array([[100, 100, 740, 740]], np.int32)
    masks = np.full((1, 64, 64), 255, np.uint8)
    face = crop_face(Frames().image(), Box(*map(int, boxes[0])))
    assert Placements(boxes, masks)(0).detail is None
    assert Placements(boxes // 4, masks, Frames())(0).detail is None
    placement = Placements(boxes, masks, Frames())(0)
    assert placement.detail is not None
    plain = Placements(boxes, masks)(0).place(face)
    placed = placement.place(face)
    assert np.array_equal(placed.planes.chroma, plain.planes.chroma)
    assert not np.array_equal(placed.planes.luma, plain.planes.luma)
    assert is_enlarged(Box(0, 0, 300, 200))
    assert not is_enlarged(Box(0, 0, 280, 280))
