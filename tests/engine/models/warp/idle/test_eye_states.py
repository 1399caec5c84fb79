"""Eyes at every closure and gaze, drawn into a part of the image."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest

from fixtures.drawn_face import draw_face
from musetalk_cli.engine.models.warp.face.sampling import UpsampledImage
from musetalk_cli.engine.models.warp.idle.eye_states import EyePatch, EyeStates
from musetalk_cli.engine.models.warp.idle.eyelids import eyes_of, shut_eyes
from musetalk_cli.engine.types.colour import ByteArray, bgr_to_planes

SIDES = {"left": slice(None, 144), "right": slice(144, None)}


def _eyes(**options: int) -> tuple[EyeStates, ByteArray]:
    image, face = draw_face()
    for lid in (face.left_upper_lid, face.right_upper_lid):
        cv2.circle(image, (round(float(lid[4, 0])), round(float(lid[4, 1])) + 7), 4, (40, 50, 60), -1)
    shut = shut_eyes(image, face)
    assert shut is not None
    planes = bgr_to_planes(image)
    states = EyeStates(UpsampledImage.of(planes), bgr_to_planes(shut), eyes_of(face), is_drawn=False, **options)
    return states, planes.luma


def _luma(patch: EyePatch | None, whole: ByteArray) -> ByteArray:
    """The whole image with the patch laid in."""
    if patch is None:
        return whole
    result = whole.copy()
    fine = patch.image.luma[::2, ::2]
    left, top = patch.corner.astype(int)
    result[top : top + fine.shape[0], left : left + fine.shape[1]] = fine
    return result


def test_open_eyes_are_the_image() -> None:
    states, _ = _eyes()
    assert states.at(0.0, 0.0, 0.0, 0.0) is None
    assert states.at(0.001, 0.0, 0.0, 0.01) is None


@pytest.mark.parametrize(("num_kept", "is_kept"), [(1, False), (2, True)])
def test_as_many_states_stay_drawn_as_are_asked_for(num_kept: int, is_kept: bool) -> None:
    states, _ = _eyes(num_kept=num_kept)
    first = states.at(1.0, 1.0, 0, 0)
    states.at(0.5, 0.5, 0, 0)
    assert (states.at(1.0, 1.0, 0, 0) is first) == is_kept


def test_a_lid_comes_down_step_by_step() -> None:
    states, whole = _eyes()
    white = [int((_luma(states.at(c, c, 0, 0), whole) > 190).sum()) for c in np.linspace(0, 1, 13)]
    assert all(after <= before + 2 for before, after in pairwise(white))
    assert white[-1] <= 0.05 * white[0]
    # No step shuts more than a quarter of the eye.
    assert max(before - after for before, after in pairwise(white)) < 0.25 * white[0]


def test_each_eye_has_its_own_closure() -> None:
    states, whole = _eyes()
    winking = _luma(states.at(1.0, 0.0, 0, 0), whole)
    assert np.array_equal(winking[:, SIDES["right"]], whole[:, SIDES["right"]])
    assert not np.array_equal(winking[:, SIDES["left"]], whole[:, SIDES["left"]])


def test_the_gaze_moves_the_iris_and_no_lid() -> None:
    states, whole = _eyes()
    face = draw_face()[1]
    rows = slice(int(face.left_upper_lid[4, 1]) + 2, int(face.left_lower_lid[4, 1]) - 1)
    columns = slice(int(face.left_upper_lid[0, 0]) + 4, int(face.left_upper_lid[-1, 0]) - 4)

    def iris(frame: ByteArray) -> float:
        dark = np.maximum(150.0 - frame[rows, columns].astype(np.float64), 0)
        return float((dark.sum(axis=0) * np.arange(dark.shape[1])).sum() / max(dark.sum(), 1e-9))

    left, middle, right = (iris(_luma(states.at(0, 0, gaze, 0), whole)) for gaze in (-1.0, 0.0, 1.0))
    assert left < middle < right
    lids = np.s_[: int(face.left_upper_lid[4, 1]) - 2]
    assert np.array_equal(_luma(states.at(0, 0, 1.0, 0), whole)[lids], whole[lids])


def test_states_are_the_same_objects_when_asked_again() -> None:
    states, _ = _eyes()
    assert states.at(0.5, 0.5, 0.2, 0.0) is states.at(0.501, 0.5, 0.2, 0.0)
