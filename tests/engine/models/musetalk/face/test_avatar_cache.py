"""The avatar's cache: what is stored is loaded, whole or not at all, and never under another key."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from musetalk_cli.engine.models.musetalk.face import avatar_cache
from musetalk_cli.engine.models.musetalk.face.avatar_cache import ArrayLayout, AvatarCache, has_cached, make_key
from tests.engine.avatar.test_avatar_files import cut, flip

KEY = "0123456789abcdef" * 4
LAYOUT = {"values": ArrayLayout(np.float16, (3, None)), "names": ArrayLayout(np.uint8, (2,))}
ARRAYS = {"values": np.arange(6, dtype=np.float16).reshape(3, 2), "names": np.array([1, 2], np.uint8)}


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def cache(tmp_path: Path, told: list[str]) -> AvatarCache:
    return AvatarCache(tmp_path, told.append)


def test_what_is_stored_is_loaded(cache: AvatarCache, told: list[str], tmp_path: Path) -> None:
    assert cache.load("kind", KEY, LAYOUT) is None
    assert not has_cached(tmp_path, "kind")
    cache.store("kind", KEY, ARRAYS)
    loaded = cache.load("kind", KEY, LAYOUT)
    assert loaded is not None
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(loaded[name], array)
    assert cache.load("kind", KEY[::-1], LAYOUT) is None
    assert cache.load("other", KEY, LAYOUT) is None
    assert has_cached(tmp_path, "kind")
    assert not has_cached(tmp_path, "other")
    assert [path.name for path in tmp_path.iterdir()] == ["kind-0123456789abcdef.npz"]
    assert told == []


@pytest.mark.parametrize("harm", [cut, flip])
def test_damage_is_reported_and_not_loaded(cache: AvatarCache, told: list[str], tmp_path: Path, harm) -> None:
    cache.store("kind", KEY, ARRAYS)
    harm(next(tmp_path.iterdir()))
    assert cache.load("kind", KEY, LAYOUT) is None
    assert len(told) == 1
    assert "damaged" in told[0]
    assert told[0].endswith("; it is made again")


@pytest.mark.parametrize(
    "arrays",
    [
        {"values": ARRAYS["values"]},
        {**ARRAYS, "more": np.zeros(1)},
        {**ARRAYS, "values": ARRAYS["values"][:2]},
        {**ARRAYS, "values": ARRAYS["values"].astype(np.float32)},
        {**ARRAYS, "names": np.zeros((2, 1), np.uint8)},
    ],
)
def test_another_format_is_reported_and_not_loaded(
    cache: AvatarCache, told: list[str], arrays: dict[str, np.ndarray]
) -> None:
    cache.store("kind", KEY, arrays)
    assert cache.load("kind", KEY, LAYOUT) is None
    assert "other arrays" in told[0]


def test_a_pickle_is_not_opened(cache: AvatarCache, told: list[str]) -> None:
    cache.store("kind", KEY, {**ARRAYS, "values": np.array([{"not": "numbers"}], dtype=object)})
    assert cache.load("kind", KEY, LAYOUT) is None
    assert "damaged" in told[0]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_only_costs_the_caching(
    cache: AvatarCache, told: list[str], tmp_path: Path
) -> None:
    tmp_path.chmod(0o500)
    cache.store("kind", KEY, ARRAYS)
    tmp_path.chmod(0o700)
    assert told == [f"kind of avatar '{tmp_path.name}' is not cached: permission denied"]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_gone_is_not_made_again(tmp_path: Path, told: list[str]) -> None:
    AvatarCache(tmp_path / "gone", told.append).store("kind", KEY, ARRAYS)
    assert "is not cached" in told[0]
    assert not (tmp_path / "gone").exists()


def test_without_a_folder_nothing_is_cached() -> None:
    AvatarCache(None).store("kind", KEY, ARRAYS)
    assert AvatarCache(None).load("kind", KEY, LAYOUT) is None


def test_a_key_depends_on_all_that_it_is_made_of(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = np.arange(8, dtype=np.int32).reshape(2, 4)
    first = make_key({"a": 1, "b": (2, 3)}, "ab", boxes)
    assert len(first) == 64
    assert first == make_key({"b": [2, 3], "a": 1}, "ab", boxes.astype(">i4"))
    others = [
        make_key({"a": 2, "b": (2, 3)}, "ab", boxes),
        make_key({"a": 1, "b": (2, 3)}, "ac", boxes),
        make_key({"a": 1, "b": (2, 3)}, "ab", boxes + 1),
        make_key({"a": 1, "b": (2, 3)}, "ab", boxes.reshape(4, 2)),
        make_key({"a": 1, "b": (2, 3)}, "ab", boxes.astype(np.uint32)),
    ]
    monkeypatch.setattr(avatar_cache, "FORMAT", 2)
    others.append(make_key({"a": 1, "b": (2, 3)}, "ab", boxes))
    assert len({first, *others}) == len(others) + 1
