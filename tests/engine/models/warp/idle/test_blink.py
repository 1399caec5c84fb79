"""Eyelids made from the image's own skin."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from fixtures.drawn_face import draw_face
from musetalk_cli.engine.models.warp.idle.blink import LEVELS, make_lids


def test_lids_cover_the_eyeballs_step_by_step() -> None:
    image, face = draw_face(tilt_deg=10.0)
    lids = make_lids(image, face)
    assert lids is not None
    left, top, width, height = lids.box
    assert lids.levels == LEVELS
    assert lids.images.shape == (len(LEVELS), height, width, 3)
    crops = [image[top : top + height, left : left + width], *lids.images]
    white = [int((crop.min(axis=2) > 220).sum()) for crop in crops]
    assert all(after < before for before, after in pairwise(white))
    assert white[-1] <= 0.02 * white[0]


def test_only_the_surroundings_of_the_eyes_change() -> None:
    image, face = draw_face()
    lids = make_lids(image, face)
    assert lids is not None
    left, top, width, height = lids.box
    crop = image[top : top + height, left : left + width]
    for shut in lids.images:
        assert np.array_equal(shut[0], crop[0])
        assert np.array_equal(shut[-1], crop[-1])
        assert np.array_equal(shut[:, width // 2], crop[:, width // 2])


def test_shut_eyes_need_no_lids() -> None:
    image, face = draw_face()
    groups = face.to_mapping()
    for side in ("left", "right"):
        groups[f"{side}_upper_lid"] = groups[f"{side}_lower_lid"]
    assert make_lids(image, type(face).from_mapping(groups)) is None
