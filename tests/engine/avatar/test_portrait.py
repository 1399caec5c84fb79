"""The portraits that ship are whole: sizes, landmarks in order on a plausible face, eyelids that fit the image."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from musetalk_cli.engine.avatar import portrait as portraits
from musetalk_cli.engine.avatar.landmarks import FloatArray, Landmarks
from musetalk_cli.engine.avatar.portrait import Portrait, describe_portrait, load_portrait, portrait_names
from musetalk_cli.errors import AvatarError

FOLDER = Path(str(files("musetalk_cli"))) / "assets" / "portraits"
IMAGE_PX = 1024
MAX_PNG_BYTES = 1_600_000
PAIRS = (
    ("outer_upper_lip", "outer_lower_lip"),
    ("inner_upper_lip", "inner_lower_lip"),
    ("left_upper_lid", "left_lower_lid"),
    ("right_upper_lid", "right_lower_lid"),
)


@pytest.fixture(scope="module", params=portrait_names())
def portrait(request: pytest.FixtureRequest) -> Portrait:
    return load_portrait(describe_portrait(request.param))


def eye_distance(marks: Landmarks) -> float:
    return float(np.linalg.norm(marks.right_upper_lid[-1] - marks.left_upper_lid[0]))


def length(a: FloatArray, b: FloatArray) -> float:
    return float(np.linalg.norm(a - b))


def crop(image: NDArray[np.uint8], box: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    left, top, width, height = box
    return image[top : top + height, left : left + width]


def test_nora_ships() -> None:
    assert "nora" in portrait_names()


def test_files_have_the_stated_sizes(portrait: Portrait) -> None:
    assert portrait.image.shape == (IMAGE_PX, IMAGE_PX, 3)
    assert (FOLDER / f"{portrait.name}.png").stat().st_size <= MAX_PNG_BYTES
    assert (FOLDER / f"{portrait.name}-lids.png").stat().st_size <= MAX_PNG_BYTES


@pytest.mark.parametrize("data", [None, b"", b"no image"])
def test_images_that_are_gone_or_damaged_are_told(
    data: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    description = describe_portrait("nora")
    monkeypatch.setattr(portraits, "_folder", lambda: tmp_path)
    if data is not None:
        (tmp_path / "nora.png").write_bytes(data)
    with pytest.raises(AvatarError, match=r"nora\.png") as caught:
        load_portrait(description)
    assert caught.value.hint == "install musetalk again"


def test_no_large_area_is_clipped(portrait: Portrait) -> None:
    bright = (portrait.image >= 254).any(axis=2).mean()
    dark = (portrait.image <= 1).all(axis=2).mean()
    assert bright < 0.0005
    assert dark < 0.002


def test_all_points_lie_in_the_image(portrait: Portrait) -> None:
    for points in portrait.landmarks.to_mapping().values():
        values = np.asarray(points)
        assert values.min() >= 0
        assert values.max() <= IMAGE_PX - 1


def test_lips_lids_and_brows_run_from_left_to_right_and_share_corners(portrait: Portrait) -> None:
    marks = portrait.landmarks
    for name in (*(name for pair in PAIRS for name in pair), "left_brow", "right_brow"):
        assert (np.diff(getattr(marks, name)[:, 0]) > 0).all(), name
    for upper, lower in PAIRS:
        above, below = getattr(marks, upper), getattr(marks, lower)
        np.testing.assert_allclose(above[[0, -1]], below[[0, -1]], atol=0.02)
        assert (above[1:-1, 1] <= below[1:-1, 1] + 0.02).all(), upper


def test_lips_are_closed_and_lie_inside_their_outline(portrait: Portrait) -> None:
    marks = portrait.landmarks
    gap = np.linalg.norm(marks.inner_upper_lip - marks.inner_lower_lip, axis=1)
    assert gap.max() <= 1.0
    middle = len(marks.inner_upper_lip) // 2
    assert marks.outer_upper_lip[middle, 1] < marks.inner_upper_lip[middle, 1] < marks.outer_lower_lip[middle, 1]
    assert marks.outer_upper_lip[0, 0] <= marks.inner_upper_lip[0, 0]
    assert marks.inner_upper_lip[-1, 0] <= marks.outer_upper_lip[-1, 0]


def test_the_seam_between_the_lips_is_drawn_where_the_landmarks_say(portrait: Portrait) -> None:
    grey = cv2.GaussianBlur(cv2.cvtColor(portrait.image, cv2.COLOR_BGR2GRAY), (0, 0), 0.8)
    for x, y in portrait.landmarks.inner_upper_lip[2:-2]:
        column = grey[round(y) - 8 : round(y) + 9, round(x)].astype(int)
        assert abs(int(column.argmin()) - 8) <= 2, (x, y)


def test_the_lips_are_redder_than_the_skin_around_them(portrait: Portrait) -> None:
    marks = portrait.landmarks
    outline = np.vstack([marks.outer_upper_lip, marks.outer_lower_lip[::-1]]).round().astype(np.int32)
    lips = cv2.fillPoly(np.zeros(portrait.image.shape[:2], np.uint8), [outline], 255)
    wide, narrow = (cv2.dilate(lips, np.ones((size, size), np.uint8)) > 0 for size in (31, 9))
    around = (wide & ~narrow).astype(np.uint8)
    a_star = cv2.cvtColor(portrait.image, cv2.COLOR_BGR2LAB)[..., 1]
    assert cv2.mean(a_star, lips)[0] > cv2.mean(a_star, around)[0] + 5


def test_proportions_are_those_of_a_frontal_face(portrait: Portrait) -> None:
    marks = portrait.landmarks
    unit = eye_distance(marks)
    assert 225 <= unit <= 275
    mouth = length(marks.outer_upper_lip[0], marks.outer_upper_lip[-1])
    assert 0.52 <= mouth / unit <= 0.62
    left = length(marks.left_upper_lid[0], marks.left_upper_lid[-1])
    right = length(marks.right_upper_lid[0], marks.right_upper_lid[-1])
    between = length(marks.left_upper_lid[-1], marks.right_upper_lid[0])
    assert left == pytest.approx(right, rel=0.08)
    assert between == pytest.approx((left + right) / 2, rel=0.2)
    heights = [group[:, 1].mean() for group in (marks.left_brow, marks.left_upper_lid, marks.left_lower_lid)]
    assert heights == sorted(heights)
    nose, mouth_y, chin = marks.nose[2, 1], marks.inner_upper_lip[5, 1], marks.oval[18, 1]
    assert nose < mouth_y < chin
    assert 0.25 <= (mouth_y - nose) / (chin - nose) <= 0.42


def test_the_face_is_nearly_symmetric_and_level(portrait: Portrait) -> None:
    marks = portrait.landmarks
    unit = eye_distance(marks)
    corners = marks.right_upper_lid[-1] - marks.left_upper_lid[0]
    assert abs(np.degrees(np.arctan2(corners[1], corners[0]))) < 3
    middle = (marks.left_upper_lid[0] + marks.right_upper_lid[-1]) / 2
    for point in (marks.nose[1], marks.inner_upper_lip[5], marks.oval[18]):
        assert abs(point[0] - middle[0]) < 0.06 * unit


def test_the_oval_goes_round_everything_clockwise(portrait: Portrait) -> None:
    marks = portrait.landmarks
    oval = marks.oval
    x, y = oval.T
    assert float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) > 0
    assert oval[0, 1] < marks.left_brow[:, 1].min()
    assert int(oval[:, 1].argmax()) in (17, 18, 19)
    contour = oval.reshape(-1, 1, 2)
    for name in ("outer_upper_lip", "outer_lower_lip", "left_lower_lid", "right_lower_lid", "nose"):
        for point in getattr(marks, name):
            assert cv2.pointPolygonTest(contour, (float(point[0]), float(point[1])), False) > 0, name


def test_the_lids_box_lies_in_the_image_and_holds_both_eyes(portrait: Portrait) -> None:
    left, top, width, height = portrait.eyelids.box
    assert left >= 0
    assert top >= 0
    assert left + width <= IMAGE_PX
    assert top + height <= IMAGE_PX
    marks = portrait.landmarks
    eyes = np.vstack([marks.left_upper_lid, marks.left_lower_lid, marks.right_upper_lid, marks.right_lower_lid])
    assert (eyes.min(axis=0) - 8 > (left, top)).all()
    assert (eyes.max(axis=0) + 8 < (left + width, top + height)).all()


def test_every_lid_image_meets_the_portrait_on_the_border(portrait: Portrait) -> None:
    rest = crop(portrait.image, portrait.eyelids.box)
    for lids in portrait.eyelids.images:
        for edge in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
            np.testing.assert_array_equal(lids[edge], rest[edge])


def test_the_eyes_shut_step_by_step(portrait: Portrait) -> None:
    assert portrait.eyelids.levels[-1] == 1.0
    rest = crop(portrait.image, portrait.eyelids.box).astype(int)
    change = [float(np.abs(lids.astype(int) - rest).mean()) for lids in portrait.eyelids.images]
    assert change == sorted(change)
    assert change[0] > 0.3


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_shut_eye_shows_neither_white_nor_pupil(portrait: Portrait, side: str) -> None:
    upper = getattr(portrait.landmarks, f"{side}_upper_lid")
    lower = getattr(portrait.landmarks, f"{side}_lower_lid")
    inner = np.vstack([upper[2:-2] * 0.75 + lower[2:-2] * 0.25, (upper[2:-2] * 0.5 + lower[2:-2] * 0.5)[::-1]])
    left, top, width, height = portrait.eyelids.box
    mask = cv2.fillPoly(
        np.zeros((height, width), np.uint8), [(inner - (left, top)).round().astype(np.int32)], 255
    ).astype(bool)
    shut = cv2.cvtColor(portrait.eyelids.images[-1], cv2.COLOR_BGR2GRAY)[mask]
    awake = cv2.cvtColor(np.ascontiguousarray(crop(portrait.image, portrait.eyelids.box)), cv2.COLOR_BGR2GRAY)[mask]
    assert shut.std() < 0.35 * awake.std()
