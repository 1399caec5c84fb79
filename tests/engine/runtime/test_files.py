"""Files that appear whole or not at all, and what they hash to."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from musetalk_cli.engine.runtime.files import CHUNK_BYTES, fit_name, hash_file, replace_file


@pytest.mark.parametrize("is_synced", [False, True])
def test_a_file_appears_whole_and_replaces_the_one_before(tmp_path: Path, is_synced: bool) -> None:
    path = tmp_path / "file"
    for text in ("first", "second"):
        with replace_file(path, is_synced=is_synced) as staged:
            staged.write_text(text)
            assert staged.parent == path.parent
            assert not path.exists() or path.read_text() != text
        assert path.read_text() == text
    assert list(tmp_path.iterdir()) == [path]


def test_an_exception_leaves_the_file_before_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("whole")
    with pytest.raises(ZeroDivisionError), replace_file(path) as staged:
        staged.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with replace_file(path) as one, replace_file(path) as other:
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() == "one", "the last that is renamed"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_is_removed_but_not_a_running_ones(tmp_path: Path) -> None:
    abandoned, at_work = (tmp_path / f".a [1].npz.{pid}-0" for pid in (999_999_999, os.getppid()))
    abandoned.touch()
    at_work.touch()
    with replace_file(tmp_path / "a [1].npz") as staged:
        staged.touch()
    assert {path.name for path in tmp_path.iterdir()} == {"a [1].npz", at_work.name}


@pytest.mark.parametrize("letter", ["a", "é", "日"])
def test_a_name_may_be_as_long_as_the_system_takes(tmp_path: Path, letter: str) -> None:
    path = tmp_path / f"{letter * (250 // len(letter.encode()))}.npz"
    (tmp_path / f".{fit_name(path.name)}.999999999-0").touch()
    with replace_file(path) as staged:
        staged.write_text("whole")
    assert list(tmp_path.iterdir()) == [path], "what a killed process left is found, too"


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replace_file(tmp_path / "nowhere" / "file") as staged:
        staged.write_text("")
    assert list(tmp_path.iterdir()) == []


def test_a_hash_tells_how_far_it_is(tmp_path: Path) -> None:
    data = bytes(range(256)) * (CHUNK_BYTES // 256) + b"end"
    (tmp_path / "file").write_bytes(data)
    told: list[tuple[int, int]] = []
    found = hash_file(tmp_path / "file", lambda done, size: told.append((done, size)))
    assert found == hashlib.sha256(data).hexdigest() == hash_file(tmp_path / "file")
    assert told == [(CHUNK_BYTES, len(data)), (len(data), len(data))]
