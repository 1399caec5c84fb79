"""Masks, hands and animals are told from mouths; faces with a mouth in sight are not doubted."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from fixtures.clips import moved_portrait, portrait_image
from musetalk_cli.engine.avatar.landmarks import FloatArray
from musetalk_cli.engine.avatar.portrait import describe_portrait
from musetalk_cli.engine.avatar.preparation.checks.coverings import (
    COVERED_UNSTEADINESS,
    DOUBTFUL_UNSTEADINESS,
    doubtful_frames,
    to_lab,
    unsteadiness,
)
from musetalk_cli.engine.avatar.preparation.checks.plausibility import RejectReason
from musetalk_cli.engine.avatar.preparation.face_models import FaceModels
from musetalk_cli.engine.avatar.preparation.faces import FaceFinder
from musetalk_cli.engine.avatar.preparation.tracking import track_face
from musetalk_cli.engine.types.colour import ByteArray, as_bytes

SIDE = 512
OK, HIGH = 0.008, 0.03


@pytest.fixture(scope="module")
def finder(face_models: FaceModels) -> FaceFinder:
    return FaceFinder(face_models)


def masked(name: str, colour: tuple[int, int, int]) -> ByteArray:
    """A portrait with a pleated mask from the middle of the nose to below the chin."""
    image, face = portrait_image(SIDE, name), describe_portrait(name)
    oval, nose = (points * (SIDE / face.height) for points in (face.landmarks.oval, face.landmarks.nose))
    left, right = oval[11:18], oval[19:26]  # along the jaw
    top = nose[0] + 0.55 * (nose[1] - nose[0])
    outline = np.concatenate([top[None], left, (oval[18] + [0, 6])[None], right])
    cover = np.zeros((SIDE, SIDE), np.uint8)
    cv2.fillPoly(cover, [outline.round().astype(np.int32)], 255, cv2.LINE_AA)
    rows = np.arange(SIDE)[:, None, None]
    cloth = np.array(colour) * (1 - 0.1 * (np.abs(np.sin(rows / 9)) < 0.25)) * np.ones((1, SIDE, 1))
    share = cv2.GaussianBlur(cover, (0, 0), 1)[..., None] / 255
    return as_bytes(np.clip(image * (1 - share) + cloth * share, 0, 255))


@pytest.mark.parametrize("colour", [(215, 190, 140), (235, 235, 235), (40, 40, 40)])
@pytest.mark.parametrize("name", ["nora", "theo"])
def test_a_mask_is_refused(finder: FaceFinder, name: str, colour: tuple[int, int, int]) -> None:
    track = track_face([masked(name, colour)], finder)
    assert not track.is_found.any()
    assert track.reject_reason[0] in (RejectReason.COVERED, RejectReason.NO_PERSON, RejectReason.NO_FACE)


def as_they_are(image: ByteArray) -> ByteArray:
    return image


def in_grey(image: ByteArray) -> ByteArray:
    return as_bytes(cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR))


def small(image: ByteArray) -> ByteArray:
    return as_bytes(cv2.resize(image, (128, 128), interpolation=cv2.INTER_AREA))


@pytest.mark.parametrize("change", [as_they_are, in_grey, small])
@pytest.mark.parametrize("name", ["nora", "theo"])
def test_a_face_with_a_mouth_is_not_doubted(
    finder: FaceFinder, name: str, change: Callable[[ByteArray], ByteArray]
) -> None:
    track = track_face([change(portrait_image(SIDE, name))], finder)
    assert track.is_found.all()
    assert track.unsteadiness < DOUBTFUL_UNSTEADINESS


def test_a_video_of_a_mask_is_refused_and_one_of_a_face_is_not(finder: FaceFinder) -> None:
    covered = track_face([masked("nora", (215, 190, 140))] * 8, finder)
    assert not covered.is_found.any()
    seen = track_face([moved_portrait(n, 256) for n in range(30)], finder)
    assert seen.is_found.all()


def frames(measured: dict[int, float], count: int = 60, cuts: tuple[int, ...] = ()) -> list[int]:
    values: list[float | None] = [measured.get(index) for index in range(count)]
    return [int(i) for i in np.flatnonzero(doubtful_frames(values, np.isin(np.arange(count), (0, *cuts))))]


def test_frames_between_measurements_are_judged_by_both() -> None:
    assert frames({0: OK, 20: OK, 40: OK}) == []
    hidden = frames({0: OK, 20: HIGH, 25: HIGH, 30: 0.02, 35: OK, 55: OK})
    assert hidden == list(range(1, 35))
    assert frames({0: COVERED_UNSTEADINESS, 5: COVERED_UNSTEADINESS}, 10) == list(range(10))


def test_one_measurement_alone_is_a_blurred_frame() -> None:
    assert frames({0: OK, 20: HIGH, 25: OK, 45: OK}) == []
    assert frames({0: HIGH}, 1) == [0]
    assert frames({0: OK, 30: HIGH}, 60, cuts=(30,)) == list(range(30, 60))


def test_unsteadiness_is_a_share_of_the_eyes_distance() -> None:
    rng = np.random.default_rng(0)
    points: FloatArray = rng.uniform(0, 100, (468, 2)).astype(np.float32)
    points[33], points[263] = (0, 50), (100, 50)
    assert unsteadiness([points, points]) == 0
    assert unsteadiness([points, points + np.float32([4, 0])]) == pytest.approx(0.02)
    assert unsteadiness([2 * points, 2 * points + np.float32([8, 0])]) == pytest.approx(0.02)


@pytest.mark.parametrize("bgr", [(0, 0, 0), (255, 255, 255), (128, 128, 128), (30, 80, 200), (200, 90, 10)])
def test_lab_is_opencvs(bgr: tuple[int, int, int]) -> None:
    expected = cv2.cvtColor(np.float32([[bgr]]) / 255, cv2.COLOR_BGR2LAB)[0, 0]
    np.testing.assert_allclose(to_lab(np.array(bgr, np.float64)), expected, atol=0.6)
