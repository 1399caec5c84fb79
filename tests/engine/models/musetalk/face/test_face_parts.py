"""MuseTalk's box and mask: the published formula, and no seam where they end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from musetalk_cli.engine.avatar.avatar import Avatar
from musetalk_cli.engine.avatar.avatar_files import RECORD_FILE, open_avatar_folder, read_record
from musetalk_cli.engine.avatar.mesh import ibug68_of
from musetalk_cli.engine.avatar.portrait import describe_portrait, open_portrait
from musetalk_cli.engine.models.musetalk.face import face_parts as face_parts_module
from musetalk_cli.engine.models.musetalk.face.avatar_cache import AvatarCache
from musetalk_cli.engine.models.musetalk.face.boxes import EXTRA_MARGIN_PX, drawn_face_box, face_boxes
from musetalk_cli.engine.models.musetalk.face.face_parts import FaceParts, PartSettings, derive_face_parts, face_parts
from musetalk_cli.engine.models.musetalk.face.masks import MASK_PX, MaskSettings, face_mask, soften_mask
from tests.engine.avatar.test_avatar_files import cut, flip, write_avatar

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
def test_a_box_never_leaves_the_image(away: tuple[int, int]) -> None:
    (box,) = face_boxes(mesh()[None] + np.array(away, np.float32), SIZE)
    left, top, right, bottom = box
    assert 0 <= left < right <= SIZE[0]
    assert 0 <= top < bottom <= SIZE[1]


@pytest.mark.parametrize("name", ["nora", "theo"])
def test_a_portraits_mask_covers_the_mouth_and_fades_before_the_edge(name: str) -> None:
    drawn = describe_portrait(name)
    parts = derive_face_parts(open_portrait(drawn), PartSettings())
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


def nora() -> Avatar:
    return open_portrait(describe_portrait("nora"))


def mask_of(settings: MaskSettings) -> np.ndarray:
    return derive_face_parts(nora(), PartSettings(EXTRA_MARGIN_PX, settings)).masks[0].astype(int)


def test_a_wider_cheek_replaces_more_of_its_own_side() -> None:
    usual, middle = mask_of(MaskSettings()), MASK_PX // 2
    for wider, own in (
        (MaskSettings(left_cheek_px=140), slice(0, middle)),
        (MaskSettings(right_cheek_px=140), slice(middle, None)),
    ):
        more = mask_of(wider) - usual
        assert more.min() >= 0
        assert more[:, own].max() > 50
        assert more.sum() == pytest.approx(more[:, own].sum(), rel=0.02)
    assert (mask_of(MaskSettings(left_cheek_px=0, right_cheek_px=0)) - usual).min() < -50


def test_the_modes_show_skin_grown_or_as_it_is_and_the_neck() -> None:
    jaw, raw, neck = (mask_of(MaskSettings(mode)) for mode in ("jaw", "raw", "neck"))
    assert (neck - raw).min() >= 0
    assert (neck - raw)[-12:].max() > 50
    assert np.abs(neck - raw)[: MASK_PX * 2 // 3, MASK_PX // 4 : -MASK_PX // 4].max() == 0
    # Raw skin reaches the sides of the cheeks, which jaw leaves out.
    assert (raw - jaw)[MASK_PX // 2 :, : MASK_PX // 4].max() > 50
    for mask in (jaw, raw, neck):
        assert mask[MASK_PX * 3 // 4, MASK_PX // 2] > 250


def test_a_margin_moves_the_lower_edge_alone() -> None:
    avatar = nora()
    usual = derive_face_parts(avatar, PartSettings()).boxes[0]
    for margin_px in (0, 25):
        box = derive_face_parts(avatar, PartSettings(margin_px)).boxes[0]
        assert (box - usual).tolist() == [0, 0, 0, margin_px - EXTRA_MARGIN_PX]


@pytest.fixture
def avatar(tmp_path: Path) -> Iterator[Avatar]:
    avatar = open_avatar_folder(write_avatar(tmp_path / "anna", 2))
    yield avatar
    avatar.close()


@pytest.fixture
def count_derived(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    derived: list[PartSettings] = []

    def derive(avatar: Avatar, settings: PartSettings, **options: int) -> FaceParts:
        derived.append(settings)
        return derive_face_parts(avatar, settings, **options)

    monkeypatch.setattr(face_parts_module, "derive_face_parts", derive)
    return lambda: len(derived)


def test_parts_are_derived_once_for_the_same_settings(
    avatar: Avatar, tmp_path: Path, count_derived: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = AvatarCache(tmp_path / "anna")
    first = face_parts(avatar, PartSettings(), cache)
    np.testing.assert_array_equal(first.boxes, face_boxes(avatar.points, (avatar.width, avatar.height)))
    again = face_parts(avatar, PartSettings(), cache)
    assert count_derived() == 1
    np.testing.assert_array_equal(again.boxes, first.boxes)
    np.testing.assert_array_equal(again.masks, first.masks)
    assert (again.boxes.dtype, again.masks.dtype) == (first.boxes.dtype, first.masks.dtype)
    for number, settings in enumerate((PartSettings(11), PartSettings(mask=MaskSettings(left_cheek_px=91))), start=2):
        assert face_parts(avatar, settings, cache).masks.any()
        assert count_derived() == number
    other = replace(avatar, points=avatar.points + np.float32(1))
    face_parts(other, PartSettings(), cache)
    assert count_derived() == 4
    monkeypatch.setattr(face_parts_module, "METHOD", -1)
    face_parts(avatar, PartSettings(), cache)
    assert count_derived() == 5


@pytest.mark.parametrize("harm", [cut, flip, Path.unlink, lambda path: path.write_bytes(b"")])
def test_cached_parts_that_are_damaged_are_derived_again(
    avatar: Avatar, tmp_path: Path, count_derived: Callable[[], int], harm: Callable[[Path], None]
) -> None:
    told: list[str] = []
    cache = AvatarCache(tmp_path / "anna", told.append)
    whole = face_parts(avatar, PartSettings(), cache)
    (path,) = cache.folder.glob("face-parts-*.npz")
    harm(path)
    again = face_parts(avatar, PartSettings(), cache)
    assert count_derived() == 2
    np.testing.assert_array_equal(again.masks, whole.masks)
    assert [line for line in told if "damaged" not in line] == []
    assert len(told) == (harm is not Path.unlink)
    face_parts(avatar, PartSettings(), cache)
    assert count_derived() == 2


def test_the_shift_that_an_avatar_was_prepared_with_moves_its_boxes(avatar: Avatar, tmp_path: Path) -> None:
    folder = tmp_path / "anna"
    plain = face_parts(avatar, PartSettings(), AvatarCache(folder))
    record = read_record(folder)
    shifted = replace(record, parameters={**record.parameters, "bbox_shift": -4})
    (folder / RECORD_FILE).write_text(shifted.to_json(), encoding="utf-8")
    moved = face_parts(avatar, PartSettings(), AvatarCache(folder)).boxes
    np.testing.assert_array_equal(moved, face_boxes(avatar.points, (avatar.width, avatar.height), bbox_shift=-4))
    assert (moved != plain.boxes).any()


def test_a_portrait_is_not_cached(tmp_path: Path) -> None:
    face_parts(nora(), PartSettings(), AvatarCache(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_hard_mask_is_softened_like_a_drawn_one() -> None:
    drawn = describe_portrait("nora")
    box = drawn_face_box(drawn.landmarks, (drawn.width, drawn.height))
    soft = soften_mask(np.full((512, 512), 255, np.uint8), box).astype(int)
    assert soft[[0, -1]].max() == soft[:, [0, -1]].max() == 0
    assert soft[MASK_PX * 3 // 4, MASK_PX // 2] == 255
