"""Eyes shut with the image's own skin."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from fixtures.drawn_face import draw_face
from musetalk_cli.engine.avatar.landmarks import Landmarks
from musetalk_cli.engine.models.warp.idle.eyelids import eye_bounds, eyes_of, shut_eyes
from musetalk_cli.engine.types.colour import ByteArray


def _changed(image: ByteArray, shut: ByteArray) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    return np.asarray((image != shut).any(axis=2))


@pytest.mark.parametrize("tilt_deg", [-15.0, 0.0, 10.0])
def test_shut_lids_cover_the_eyeballs(tilt_deg: float) -> None:
    image, face = draw_face(tilt_deg)
    shut = shut_eyes(image, face)
    assert shut is not None
    white = [int((each.min(axis=2) > 220).sum()) for each in (image, shut)]
    assert white[0] > 100
    assert white[1] <= 0.03 * white[0]


def test_only_the_eyes_change() -> None:
    image, face = draw_face()
    shut = shut_eyes(image, face)
    assert shut is not None
    changed = _changed(image, shut)
    allowed = np.zeros_like(changed)
    for eye in eyes_of(face):
        left, top, right, bottom = eye_bounds((eye,))
        allowed[int(top) - 1 : int(bottom) + 2, int(left) - 1 : int(right) + 2] = True
    assert changed.any()
    assert not (changed & ~allowed).any()


def test_a_brow_that_lies_on_the_eye_stays_where_it_is() -> None:
    image, face = draw_face()
    groups = face.to_mapping()
    for side in ("left", "right"):
        lid = np.array(groups[f"{side}_upper_lid"], np.float32)
        low = lid[[1, 3, 4, 5, 7]] - np.array([0, 9.0], np.float32)  # its upper edge: it reaches down to the lid
        groups[f"{side}_brow"] = low.tolist()
        for point in low:
            x, y = (int(value) for value in point)
            cv2.line(image, (x, y + 1), (x, y + 5), (20, 25, 30), 4)
    deep_set = Landmarks.from_mapping(groups)
    shut = shut_eyes(image, deep_set)
    assert shut is not None
    for side in ("left", "right"):
        brow = np.array(groups[f"{side}_brow"], np.float32)
        rows = slice(int(brow[:, 1].min()), int(brow[:, 1].min()) + 4)
        columns = slice(int(brow[0, 0]), int(brow[-1, 0]) + 1)
        assert np.array_equal(shut[rows, columns], image[rows, columns])
        # The lid is skin, though what lies above it is a brow.
        eye = np.array(groups[f"{side}_lower_lid"], np.float32)[4] - [0, 4]
        assert shut[int(eye[1]), int(eye[0])].mean() > 100


def test_shut_eyes_need_no_lids() -> None:
    image, face = draw_face()
    groups = face.to_mapping()
    for side in ("left", "right"):
        groups[f"{side}_upper_lid"] = groups[f"{side}_lower_lid"]
    assert shut_eyes(image, Landmarks.from_mapping(groups)) is None
