"""Class maps: packed without loss, cached, and made again when the cached ones are damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from musetalk_cli.engine.models.musetalk.face.avatar_cache import AvatarCache
from musetalk_cli.engine.models.musetalk.face.class_maps import ClassMaps, load_class_maps, store_class_maps
from musetalk_cli.errors import AvatarError

KEY = "0123456789abcdef" * 4


@pytest.fixture
def maps() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 19, (16, 16), dtype=np.uint8).repeat(32, 0).repeat(32, 1) for _ in range(2)]


def test_maps_come_back_as_they_were_and_take_little_room(tmp_path: Path, maps: list[np.ndarray]) -> None:
    cache = AvatarCache(tmp_path)
    assert load_class_maps(cache, KEY, 2) is None
    store_class_maps(cache, KEY, ClassMaps.pack(maps))
    cached = load_class_maps(cache, KEY, 2)
    assert cached is not None
    assert len(cached) == 2
    for index, wanted in enumerate(maps):
        np.testing.assert_array_equal(cached[index], wanted)
    assert load_class_maps(cache, KEY[::-1], 2) is None
    (path,) = tmp_path.glob("parsing-*.npz")
    assert path.stat().st_size < 2 * 512 * 512 / 10


def test_maps_of_other_frames_are_made_again(tmp_path: Path, maps: list[np.ndarray]) -> None:
    cache = AvatarCache(tmp_path)
    store_class_maps(cache, KEY, ClassMaps.pack(maps))
    assert load_class_maps(cache, KEY, 3) is None


def test_damage_is_named(tmp_path: Path, maps: list[np.ndarray]) -> None:
    told: list[str] = []
    cache = AvatarCache(tmp_path, told.append)
    store_class_maps(cache, KEY, ClassMaps.pack(maps))
    (path,) = tmp_path.glob("parsing-*.npz")
    path.write_bytes(path.read_bytes()[:-100])
    assert load_class_maps(cache, KEY, 2) is None
    assert "is damaged" in told[0]
    packed = ClassMaps.pack(maps)
    with pytest.raises(AvatarError, match="frame 1") as caught:
        ClassMaps(packed.data[: packed.offsets[1]], packed.offsets)[1]
    assert "delete" in caught.value.hint
