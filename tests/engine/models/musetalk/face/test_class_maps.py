"""What face parsing saw: packed without loss, kept whole, and refused when damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from musetalk_cli.engine.models.musetalk.face.class_maps import ClassMaps, load_class_maps, store_class_maps
from musetalk_cli.errors import AvatarError
from tests.engine.avatar.test_avatar_files import write_avatar

KEY = "0123456789abcdef" * 4


@pytest.fixture
def maps() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 19, (16, 16), dtype=np.uint8).repeat(32, 0).repeat(32, 1) for _ in range(2)]


def test_maps_come_back_as_they_were_and_take_little_room(tmp_path: Path, maps: list[np.ndarray]) -> None:
    folder = write_avatar(tmp_path / "anna", 2)
    assert load_class_maps(folder, KEY) is None
    store_class_maps(folder, KEY, ClassMaps.pack(maps))
    kept = load_class_maps(folder, KEY)
    assert kept is not None
    assert len(kept) == 2
    for index, wanted in enumerate(maps):
        np.testing.assert_array_equal(kept[index], wanted)
    assert load_class_maps(folder, KEY[::-1]) is None
    (path,) = folder.glob("parsing-*.npz")
    assert path.stat().st_size < 2 * 512 * 512 / 10


def test_maps_of_other_frames_are_made_again(tmp_path: Path, maps: list[np.ndarray]) -> None:
    folder = write_avatar(tmp_path / "anna", 3)
    store_class_maps(folder, KEY, ClassMaps.pack(maps))
    assert load_class_maps(folder, KEY) is None


def test_damage_is_named(tmp_path: Path, maps: list[np.ndarray]) -> None:
    folder = write_avatar(tmp_path / "anna", 2)
    store_class_maps(folder, KEY, ClassMaps.pack(maps))
    (path,) = folder.glob("parsing-*.npz")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(AvatarError, match="is damaged") as caught:
        load_class_maps(folder, KEY)
    assert "delete" in caught.value.hint
    packed = ClassMaps.pack(maps)
    with pytest.raises(AvatarError, match="frame 1"):
        ClassMaps(packed.data[: packed.offsets[1]], packed.offsets)[1]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, maps: list[np.ndarray]) -> None:
    with pytest.raises(AvatarError, match="cannot write"):
        store_class_maps(tmp_path / "nowhere", KEY, ClassMaps.pack(maps))
