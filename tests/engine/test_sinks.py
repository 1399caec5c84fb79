from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from musetalk_cli.engine.sinks import open_sink
from musetalk_cli.errors import SinkError
from tests.engine.test_fragments import STREAM


def test_nothing_is_created_before_the_first_bytes(tmp_path: Path) -> None:
    sink = open_sink(str(tmp_path / "a.mp4"), overwrite=False)
    assert list(tmp_path.iterdir()) == []
    sink.close(is_complete=False)
    assert list(tmp_path.iterdir()) == []


def test_a_whole_video_is_kept_as_it_is(tmp_path: Path) -> None:
    sink = open_sink(str(tmp_path / "a.mp4"), overwrite=False)
    sink.write(STREAM + b"tail")
    sink.close(is_complete=True)
    assert (tmp_path / "a.mp4").read_bytes() == STREAM + b"tail"


def test_a_broken_off_video_ends_behind_its_last_whole_fragment(tmp_path: Path) -> None:
    sink = open_sink(str(tmp_path / "a.mp4"), overwrite=False)
    sink.write(STREAM + b"\0\0")
    sink.close(is_complete=False)
    assert (tmp_path / "a.mp4").read_bytes() == STREAM


def test_what_cannot_be_played_does_not_stay(tmp_path: Path) -> None:
    sink = open_sink(str(tmp_path / "a.mp4"), overwrite=False)
    sink.write(STREAM[:400])
    sink.close(is_complete=False)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_replaced_only_by_a_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    broken = open_sink(str(path), overwrite=True)
    broken.write(STREAM[:400])
    broken.close(is_complete=False)
    assert path.read_bytes() == b"old"
    whole = open_sink(str(path), overwrite=True)
    whole.write(STREAM)
    assert path.read_bytes() == b"old"
    whole.close(is_complete=True)
    assert path.read_bytes() == STREAM
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    sink = open_sink(str(tmp_path / "a.mp4"), overwrite=False)
    (tmp_path / "a.mp4").write_bytes(b"somebody else's")
    with pytest.raises(SinkError):
        sink.write(STREAM)
    sink.close(is_complete=False)
    assert (tmp_path / "a.mp4").read_bytes() == b"somebody else's"


@pytest.mark.parametrize(
    ("name", "words"),
    [("old.mp4", "exists already"), ("folder", "is a folder"), ("no/where.mp4", "no folder"), ("a.avi", "only MP4")],
)
def test_bad_destinations_are_refused_before_work(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "old.mp4").write_bytes(b"old")
    (tmp_path / "folder").mkdir()
    with pytest.raises(SinkError, match=words):
        open_sink(str(tmp_path / name), overwrite=False)


def test_a_full_disk_is_said_in_words() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    sink = open_sink("/dev/full", overwrite=False)
    with pytest.raises(SinkError, match="no space left") as caught:
        sink.write(b"x")
    assert "free some space" in caught.value.hint
    sink.close(is_complete=False)


def test_a_named_pipe_is_written_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    sink = open_sink(str(path), overwrite=False)
    sink.write(STREAM)
    sink.close(is_complete=True)
    assert os.read(reader, 1 << 16) == STREAM
    os.close(reader)
    assert stat.S_ISFIFO(path.stat().st_mode)
