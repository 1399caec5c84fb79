"""Files that ffmpeg writes by itself: they have their name when they are whole."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import pytest

from musetalk_cli.engine.outputs.destinations import open_sink
from musetalk_cli.engine.outputs.remuxed_file import RemuxedFileSink, Remuxer
from musetalk_cli.engine.outputs.sinks import Sink
from musetalk_cli.engine.outputs.whole_file import ImageSequenceSink, WholeFileSink, WrittenBy, find_images
from musetalk_cli.errors import SinkError

REMUXER = Remuxer("ffmpeg", Fraction(25))


def open_whole(path: Path, *, overwrite: bool = False, has_alpha: bool | None = True) -> Sink:
    return open_sink(str(path), overwrite=overwrite, remuxer=REMUXER, has_alpha=has_alpha)


def test_which_files_are_written_so(tmp_path: Path) -> None:
    assert isinstance(open_whole(tmp_path / "a.webm", has_alpha=False), WholeFileSink)
    assert isinstance(open_whole(tmp_path / "a.mov"), WholeFileSink)
    assert isinstance(open_whole(tmp_path / "a.mov", has_alpha=False), RemuxedFileSink)
    assert isinstance(open_whole(tmp_path / "a-%d.png"), WrittenBy)
    assert not isinstance(open_whole(tmp_path / "a.mp4"), WrittenBy)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("talk.webm", "'output' {}/talk.mp4 makes an MP4; ffmpeg -i {}/talk.mp4 {}/talk.webm converts it"),
        ("my talk.webm", "ffmpeg -i '{}/my talk.mp4' '{}/my talk.webm' converts it"),
    ],
)
def test_a_live_stream_writes_none(tmp_path: Path, name: str, hint: str) -> None:
    with pytest.raises(SinkError, match="WebM holds no H") as raised:
        open_whole(tmp_path / name, has_alpha=None)
    assert hint.replace("{}", str(tmp_path)) in raised.value.hint


@pytest.mark.parametrize(
    ("is_whole", "is_final", "left"), [(True, True, "new"), (True, False, "new"), (False, False, None)]
)
def test_a_file_stays_when_ffmpeg_has_ended_it(
    tmp_path: Path, is_whole: bool, is_final: bool, left: str | None
) -> None:
    path = tmp_path / "a.webm"
    sink = open_whole(path)
    assert isinstance(sink, WholeFileSink)
    Path(sink.create()).write_text("new")
    assert not path.exists()  # a run that is killed leaves nothing of that name
    sink.close(is_whole=is_whole, is_final=is_final)
    sink.close(is_whole=False, is_final=False)
    assert [file.read_text() for file in tmp_path.iterdir()] == ([left] if left else [])
    assert sink.where == (str(path) if left else None)
    assert sink.num_bytes == 3


def test_an_older_file_is_replaced_by_a_whole_one_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.webm"
    path.write_text("old")
    with pytest.raises(SinkError, match="exists already"):
        open_whole(path)
    for is_final, text in ((False, "old"), (True, "new")):
        sink = open_whole(path, overwrite=True)
        assert isinstance(sink, WholeFileSink)
        Path(sink.create()).write_text("new")
        sink.close(is_whole=is_final, is_final=is_final)
        assert path.read_text() == text
        assert [file.name for file in tmp_path.iterdir()] == ["a.webm"]


def test_a_file_that_was_cut_lies_beside_an_older_one(tmp_path: Path) -> None:
    path = tmp_path / "a.webm"
    path.write_text("old")
    sink = open_whole(path, overwrite=True)
    assert isinstance(sink, WholeFileSink)
    Path(sink.create()).write_text("new")
    sink.close(is_whole=True, is_final=False)
    assert path.read_text() == "old"
    assert sink.where == str(tmp_path / "a.part1.webm")
    assert (tmp_path / "a.part1.webm").read_text() == "new"


def test_numbered_images(tmp_path: Path) -> None:
    pattern = tmp_path / "talk-%03d.png"
    for name in ("talk.png", "talk-%s.png", "talk-%d-%d.png"):
        with pytest.raises(SinkError, match="one image holds no video"):
            open_whole(tmp_path / name)
    sink = open_whole(pattern)
    assert isinstance(sink, ImageSequenceSink)
    assert sink.create() == str(pattern)
    for number in (1, 2, 1000):
        (tmp_path / f"talk-{number:03}.png").write_text("image")
    (tmp_path / "talk-x.png").touch()
    assert len(find_images(pattern)) == 3
    sink.close(is_whole=True, is_final=True)
    sink.close(is_whole=False, is_final=False)
    assert (sink.where, sink.num_bytes) == (str(pattern), 15)
    with pytest.raises(SinkError, match=r"talk-001\.png exists already"):
        open_whole(pattern)


def test_older_images_stay_until_new_ones_are_there(tmp_path: Path) -> None:
    pattern = tmp_path / "talk-%03d.png"
    names, others = [f"talk-{number:03}.png" for number in (1, 2, 3)], ["talk-0004.png", "talk-2024.png", "talk-24.png"]
    for name in (*names, *others):
        (tmp_path / name).write_text("old")
    failing = open_whole(pattern, overwrite=True)
    failing.close(is_whole=False, is_final=False)
    assert failing.where is None
    assert {file.read_text() for file in tmp_path.iterdir()} == {"old"}
    assert len(list(tmp_path.iterdir())) == 6

    for name in names:
        os.utime(tmp_path / name, ns=(0, 0))
    sink = open_whole(pattern, overwrite=True)
    for name in names[:2]:
        (tmp_path / name).write_text("image")
    sink.close(is_whole=True, is_final=True)
    assert (sink.where, sink.num_bytes) == (str(pattern), 10)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([*names[:2], *others])


def test_a_folder_may_have_a_percent_sign(tmp_path: Path) -> None:
    folder = tmp_path / "100 %d"
    folder.mkdir()
    sink = open_whole(folder / "talk-%d.png")
    assert isinstance(sink, ImageSequenceSink)
    assert sink.create() == str(tmp_path / "100 %%d" / "talk-%d.png")
