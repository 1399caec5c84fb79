"""MuseTalk's box and mask: the published formula, and no seam where they end."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest

from musetalk_cli.engine.avatar.boxes import EXTRA_MARGIN_PX, drawn_face_box, face_boxes
from musetalk_cli.engine.avatar.masks import MASK_PX, face_mask
from musetalk_cli.engine.avatar.mesh import ibug68_of
from musetalk_cli.engine.avatar.parts import drawn_face_parts
from musetalk_cli.engine.avatar.portrait import describe_portrait

SIZE = (400, 600)


def mesh(seed: int = 0) -> np.ndarray:
    """A cloud of points in which the chin is lowest and the ridge in the middle, as in a face."""
    points = np.random.default_rng(seed).uniform((100, 150), (300, 380), (468, 2)).astype(np.float32)
    points[152] = (200.6, 420.7)
    points[[195, 5]] = (200.2, 260.9)
    return points


def test_the_box_is_the_published_formula() -> None:
    points = mesh()
    whole = ibug68_of(points).astype(int)
    middle, chin = whole[29, 1], whole[:, 1].max()
    (box,) = face_boxes(points[None], SIZE)
    expected = [whole[:, 0].min(), max(0, 2 * middle - chin), whole[:, 0].max(), chin + EXTRA_MARGIN_PX]
    assert box.tolist() == expected
    assert box.dtype == np.int32


def test_a_shift_moves_the_middle() -> None:
    points = mesh()[None]
    plain, shifted = face_boxes(points, SIZE)[0], face_boxes(points, SIZE, bbox_shift=7)[0]
    assert (shifted - plain).tolist() == [0, 14, 0, 0]


@pytest.mark.parametrize("away", [(-180, 0), (250, 0), (0, -200), (0, 300), (900, 900), (-900, -900)])
def test_a_box_never_leaves_the_picture(away: tuple[int, int]) -> None:
    (box,) = face_boxes(mesh()[None] + np.array(away, np.float32), SIZE)
    left, top, right, bottom = box
    assert 0 <= left < right <= SIZE[0]
    assert 0 <= top < bottom <= SIZE[1]


@pytest.mark.parametrize("name", ["nora", "theo"])
def test_a_portraits_mask_covers_the_mouth_and_fades_before_the_edge(name: str) -> None:
    drawn = describe_portrait(name)
    parts = drawn_face_parts(drawn.landmarks, (drawn.width, drawn.height))
    box, mask = parts.boxes[0], parts.masks[0]
    assert mask.shape == (MASK_PX, MASK_PX)
    for edge in (mask[:, 0], mask[:, -1], mask[-1]):
        assert edge.max() == 0
    steps = [np.abs(np.diff(mask.astype(int), axis=axis)).max() for axis in (0, 1)]
    assert max(steps) < 64, "no step of more than a quarter from one cell to the next"
    scale = MASK_PX / (box[2:] - box[:2])
    for group in ("outer_upper_lip", "outer_lower_lip"):
        x, y = ((getattr(drawn.landmarks, group) - box[:2]) * scale).astype(int).T
        assert mask[y, x].min() > 230, group
    eyes = ((drawn.landmarks.left_upper_lid - box[:2]) * scale).astype(int)
    assert mask[: eyes[:, 1].max() + 1].max() == 0
    tip = ((drawn.landmarks.nose[1] - box[:2]) * scale).astype(int)
    assert mask[tip[1], tip[0]] < 128, "the nose stays the avatar's own"


def test_a_mask_moves_smoothly_with_the_face() -> None:
    drawn = describe_portrait("nora")
    box = drawn_face_box(drawn.landmarks, (drawn.width, drawn.height))
    masks = []
    for step in range(9):
        shift = np.array([step / 8, 0], dtype=np.float32)
        moved = type(drawn.landmarks)(**{name: points + shift for name, points in vars(drawn.landmarks).items()})
        masks.append(face_mask(moved, box).astype(int))
    # A pixel's eighth at a time, no cell of the mask changes by more than 2 of 255.
    assert max(np.abs(after - before).max() for before, after in pairwise(masks)) <= 2
    assert np.abs(masks[-1] - masks[0]).max() > 0


def test_a_mask_fits_a_box_of_another_shape() -> None:
    drawn = describe_portrait("nora")
    face = drawn.landmarks
    box = drawn_face_box(face, (drawn.width, drawn.height))
    half = type(face)(**{name: points / 2 for name, points in vars(face).items()})
    small = drawn_face_box(half, (drawn.width // 2, drawn.height // 2))
    whole = cv2.resize(face_mask(face, box), (32, 32), interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(whole - cv2.resize(face_mask(half, small), (32, 32), interpolation=cv2.INTER_AREA)).mean() < 8
