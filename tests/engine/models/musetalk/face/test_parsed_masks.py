"""Masks from face parsing: parsed once and cached, landmarks where it sees nothing, classes drawn in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[neural]'")

from musetalk_cli.engine.avatar.avatar_files import open_avatar_folder  # noqa: E402
from musetalk_cli.engine.avatar.portrait import describe_portrait, open_portrait  # noqa: E402
from musetalk_cli.engine.models.musetalk.face.avatar_cache import AvatarCache  # noqa: E402
from musetalk_cli.engine.models.musetalk.face.blend import (  # noqa: E402
    LOWER_LIP,
    MOUTH,
    NECK,
    NOSE,
    SKIN,
    UPPER_LIP,
    Box,
    crop_box,
    mode_mask,
)
from musetalk_cli.engine.models.musetalk.face.class_maps import ClassMaps  # noqa: E402
from musetalk_cli.engine.models.musetalk.face.face_parts import PartSettings, derive_face_parts  # noqa: E402
from musetalk_cli.engine.models.musetalk.face.masks import MaskSettings  # noqa: E402
from musetalk_cli.engine.models.musetalk.face.parsed_masks import (  # noqa: E402
    DrawnClasses,
    ParsedMasks,
    cut_square,
    parse_avatar,
)
from musetalk_cli.engine.runtime.files import hash_file  # noqa: E402
from tests.engine.avatar.test_avatar_files import write_avatar  # noqa: E402

BOXES = np.tile(np.array([20, 20, 100, 110], np.int32), (3, 1))


class SkinParser:
    """Takes whatever is bright for skin."""

    def __init__(self) -> None:
        self.num_parsed = 0

    def parse(self, image: np.ndarray) -> np.ndarray:
        self.num_parsed += 1
        grey = cv2.resize(image, (512, 512)).max(axis=2)
        return np.where(grey > 120, SKIN, 0).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_avatar(tmp_path / "anna", 3)


@pytest.fixture
def parse(folder: Path) -> Iterator[Callable[..., ClassMaps]]:
    avatar = open_avatar_folder(folder)

    def run(parser: SkinParser, weights: Path, boxes: np.ndarray, told: list[str]) -> ClassMaps:
        cache = AvatarCache(folder, told.append)
        return parse_avatar(avatar, boxes, lambda: parser, cache, hash_file(weights))  # type: ignore[arg-type, return-value]

    yield run
    avatar.close()


def test_frames_are_parsed_once_for_the_same_net_and_boxes(parse, folder: Path, tmp_path: Path) -> None:
    boxes, told = BOXES, []
    weights, others = tmp_path / "weights", tmp_path / "others"
    weights.write_bytes(b"one")
    others.write_bytes(b"two")
    first = SkinParser()
    maps = parse(first, weights, boxes, told)
    assert first.num_parsed == 3
    assert told == ["parsing the 3 frames of avatar 'anna' once; the result is cached"]
    for again, path, moved, wanted in (
        (SkinParser(), weights, 0, 0),
        (SkinParser(), others, 0, 3),
        (SkinParser(), weights, 5, 3),
    ):
        kept = parse(again, path, boxes + moved, told)
        assert again.num_parsed == wanted
        assert len(kept) == len(maps)
    np.testing.assert_array_equal(parse(first, weights, boxes, told)[2], maps[2])


def test_what_cannot_be_cached_is_used_all_the_same(parse, tmp_path: Path, monkeypatch) -> None:
    from musetalk_cli.engine.models.musetalk.face import avatar_cache

    def fail(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(avatar_cache, "replace_file", fail)
    (tmp_path / "weights").write_bytes(b"one")
    told: list[str] = []
    assert len(parse(SkinParser(), tmp_path / "weights", BOXES, told)) == 3
    assert told[-1] == "parsing of avatar 'anna' is not cached: no space left on device"


def test_masks_follow_what_was_parsed_and_landmarks_where_that_is_nothing() -> None:
    avatar = open_portrait(describe_portrait("nora"))
    parts = derive_face_parts(avatar, PartSettings())
    left_half, nothing = np.zeros((512, 512), np.uint8), np.zeros((512, 512), np.uint8)
    left_half[:, :256] = SKIN
    masks = ParsedMasks(ClassMaps.pack([left_half]), parts, MaskSettings("raw"))
    mask = masks[0]
    assert masks[0] is mask
    assert mask[48, 20] == 255
    assert mask[48, 44] == 0
    assert mask[:, [0, -1]].max() == mask[-1].max() == 0
    mask = ParsedMasks(ClassMaps.pack([nothing]), parts, MaskSettings())[0]
    np.testing.assert_array_equal(mask, parts.masks[0])


@pytest.mark.parametrize("mode", ["jaw", "raw", "neck"])
@pytest.mark.parametrize("name", ["nora", "theo"])
def test_classes_drawn_from_landmarks_give_the_masks_that_landmarks_give(name: str, mode: str) -> None:
    """Outlines at a quarter of the size, and classes through upstream's own morphology, which tapers its growth."""
    avatar = open_portrait(describe_portrait(name))
    settings = MaskSettings(mode, 70, 110)  # type: ignore[arg-type]
    parts = derive_face_parts(avatar, PartSettings(10, settings))
    maps = ClassMaps.pack([DrawnClasses(avatar, parts.boxes)[0]])
    difference = np.abs(ParsedMasks(maps, parts, settings)[0].astype(int) - parts.masks[0])
    assert difference.mean() < (6 if mode == "jaw" else 2)


def test_drawn_classes_are_where_the_face_has_them() -> None:
    avatar = open_portrait(describe_portrait("nora"))
    face, box = avatar.landmarks[0], derive_face_parts(avatar, PartSettings()).boxes[0]
    crop = crop_box(Box(*map(int, box)))
    classes = DrawnClasses(avatar, box[None])[0]

    def at(point: np.ndarray) -> int:
        x, y = ((point - (crop.left, crop.top)) * 512 / crop.width).astype(int)
        return int(classes[y, x])

    chin = face.oval[18]
    assert at(np.add(face.nose[0], (0, 8))) == NOSE
    assert at((face.outer_upper_lip[5] + face.inner_upper_lip[5]) / 2) == UPPER_LIP
    assert at((face.outer_lower_lip[5] + face.inner_lower_lip[5]) / 2) == LOWER_LIP
    assert at((chin + face.outer_lower_lip[5]) / 2) == SKIN
    assert at(np.add(chin, (0, 12))) == NECK
    assert set(np.unique(classes)) <= {0, SKIN, NOSE, UPPER_LIP, LOWER_LIP, MOUTH, NECK}
    assert mode_mask(classes, MaskSettings("neck")).sum() > mode_mask(classes, MaskSettings("raw")).sum()


def test_a_square_that_leaves_the_image_is_black_there() -> None:
    image = np.full((40, 60, 3), 200, np.uint8)
    square = cut_square(image, Box(-10, 5, 40, 55))
    assert square.shape == (50, 50, 3)
    assert square[:, :10].max() == square[35:].max() == 0
    assert square[:35, 10:].min() == 200
