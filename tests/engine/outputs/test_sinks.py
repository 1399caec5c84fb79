from __future__ import annotations

import os
import stat
import threading
from fractions import Fraction
from pathlib import Path

import pytest

from musetalk_cli.engine.outputs.destinations import open_sink
from musetalk_cli.engine.outputs.fragments import Fragment
from musetalk_cli.engine.outputs.remuxed_file import Remuxer
from musetalk_cli.engine.outputs.sinks import FileSink, Sink
from musetalk_cli.engine.runtime.stage import Aborted
from musetalk_cli.errors import SinkError
from tests.engine.outputs.test_fragments import FRAGMENTS, INIT_SEGMENT, STREAM

REMUXER = Remuxer("ffmpeg", Fraction(25))
TRAILER = Fragment(b"tail", 0, False, is_trailer=True)


def send(sink: Sink, *more: Fragment) -> None:
    sink.begin(INIT_SEGMENT)
    for fragment in (*FRAGMENTS, *more):
        sink.write(fragment)


def end(sink: Sink, *, is_whole: bool = True, is_final: bool = True) -> None:
    sink.close(is_whole=is_whole, is_final=is_final)


def test_nothing_is_created_before_it_begins(tmp_path: Path) -> None:
    sink = open_sink(str(tmp_path / "a.mp4"), overwrite=False, remuxer=REMUXER)
    assert list(tmp_path.iterdir()) == []
    end(sink, is_whole=False)
    assert list(tmp_path.iterdir()) == []
    assert sink.where is None


def test_a_whole_video_is_kept_as_it_is(tmp_path: Path) -> None:
    sink = open_sink(str(tmp_path / "a.mp4"), overwrite=False, remuxer=REMUXER)
    send(sink, TRAILER)
    end(sink)
    assert (tmp_path / "a.mp4").read_bytes() == STREAM + b"tail"
    assert sink.where == str(tmp_path / "a.mp4")


def test_a_broken_off_video_ends_behind_its_last_fragment(tmp_path: Path) -> None:
    sink = open_sink(str(tmp_path / "a.mp4"), overwrite=False, remuxer=REMUXER)
    send(sink, TRAILER)
    end(sink, is_whole=False, is_final=False)
    assert (tmp_path / "a.mp4").read_bytes() == STREAM


def test_a_run_that_is_killed_before_its_first_fragment_leaves_no_file(tmp_path: Path) -> None:
    sink = open_sink(str(tmp_path / "a.mp4"), overwrite=False, remuxer=REMUXER)
    sink.begin(INIT_SEGMENT)
    assert list(tmp_path.iterdir()) == []
    sink.write(FRAGMENTS[0])
    assert (tmp_path / "a.mp4").read_bytes() == INIT_SEGMENT.data + FRAGMENTS[0].data
    end(sink)


def test_what_cannot_be_played_does_not_stay(tmp_path: Path) -> None:
    sink = open_sink(str(tmp_path / "a.mp4"), overwrite=False, remuxer=REMUXER)
    sink.begin(INIT_SEGMENT)
    end(sink, is_whole=False, is_final=False)
    assert list(tmp_path.iterdir()) == []


def test_an_older_file_is_replaced_only_by_a_finished_one(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    path.chmod(0o640)
    broken = open_sink(str(path), overwrite=True, remuxer=REMUXER)
    broken.begin(INIT_SEGMENT)
    end(broken, is_whole=False, is_final=False)
    assert list(tmp_path.iterdir()) == [path]
    interrupted = open_sink(str(path), overwrite=True, remuxer=REMUXER)
    send(interrupted)
    end(interrupted, is_final=False)
    assert path.read_bytes() == b"old"
    assert interrupted.where == str(tmp_path / "a.part1.mp4")
    finished = open_sink(str(path), overwrite=True, remuxer=REMUXER)
    send(finished)
    assert path.read_bytes() == b"old"
    end(finished)
    assert path.read_bytes() == (tmp_path / "a.part1.mp4").read_bytes() == STREAM
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert sorted(tmp_path.iterdir()) == [path, tmp_path / "a.part1.mp4"]


def test_a_link_leads_to_the_file(tmp_path: Path) -> None:
    target, link, dangling = tmp_path / "target.mp4", tmp_path / "link.mp4", tmp_path / "dangling.mp4"
    target.write_bytes(b"old")
    link.symlink_to(target)
    dangling.symlink_to(tmp_path / "new.mp4")
    for path in (link, dangling):
        sink = open_sink(str(path), overwrite=True, remuxer=REMUXER)
        send(sink)
        end(sink)
        assert path.is_symlink()
    assert target.read_bytes() == (tmp_path / "new.mp4").read_bytes() == STREAM


def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    sink = open_sink(str(tmp_path / "a.mp4"), overwrite=False, remuxer=REMUXER)
    (tmp_path / "a.mp4").write_bytes(b"somebody else's")
    with pytest.raises(SinkError):
        send(sink)
    end(sink, is_whole=False, is_final=False)
    assert (tmp_path / "a.mp4").read_bytes() == b"somebody else's"


def test_a_staged_file_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    for is_whole in (False, True):
        sink = open_sink(str(path), overwrite=False, remuxer=REMUXER, is_staged=True)
        send(sink)
        assert [each.name for each in tmp_path.iterdir()] == [".a.part1.mp4"]
        end(sink, is_whole=is_whole, is_final=is_whole)
        assert [each.name for each in tmp_path.iterdir()] == ["a.mp4"] * is_whole
        assert sink.where == (str(path) if is_whole else None)


def test_a_staged_file_replaces_none_that_has_appeared(tmp_path: Path) -> None:
    sink = open_sink(str(tmp_path / "a.mp4"), overwrite=False, remuxer=REMUXER, is_staged=True)
    send(sink)
    (tmp_path / "a.mp4").write_bytes(b"somebody else's")
    with pytest.raises(SinkError, match="exists already"):
        end(sink)
    assert [each.read_bytes() for each in tmp_path.iterdir()] == [b"somebody else's"]


def test_odd_names_are_errors_with_words(tmp_path: Path) -> None:
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    for name in ("x" * 300 + ".mp4", "loop.mp4", "nul\0.mp4"):
        with pytest.raises(SinkError, match=r"cannot write|no permission|exists"):
            sink = open_sink(str(tmp_path / name), overwrite=True, remuxer=REMUXER)
            send(sink)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("old.mp4", "exists already"),
        ("folder", "is a folder"),
        ("no/where.mp4", "no folder"),
        ("a.avi", "make .avi"),
    ],
)
def test_bad_destinations_are_refused_before_work(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "old.mp4").write_bytes(b"old")
    (tmp_path / "folder").mkdir()
    with pytest.raises(SinkError, match=words):
        open_sink(str(tmp_path / name), overwrite=False, remuxer=REMUXER)


def test_a_full_disk_is_reported_in_words() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    sink = open_sink("/dev/full", overwrite=False, remuxer=REMUXER)
    with pytest.raises(SinkError, match="no space left") as caught:
        sink.begin(INIT_SEGMENT)
    assert "free some space" in caught.value.hint
    end(sink, is_whole=False)


def test_a_named_pipe_is_written_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    sink = open_sink(str(path), overwrite=False, remuxer=REMUXER)
    send(sink)
    end(sink)
    assert os.read(reader, 1 << 16) == STREAM
    os.close(reader)
    assert stat.S_ISFIFO(path.stat().st_mode)


@pytest.mark.parametrize("has_reader", [True, False])
def test_a_pipe_that_nobody_empties_can_be_left(tmp_path: Path, has_reader: bool) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK) if has_reader else None
    sink = open_sink(str(path), overwrite=False, remuxer=REMUXER)
    timer = threading.Timer(0.3, sink.cancel)
    timer.start()
    with pytest.raises(Aborted):
        sink.begin(INIT_SEGMENT)
        sink.write(Fragment(b"x" * (1 << 20), 1, True))
    timer.join()
    end(sink, is_whole=False)
    if reader is not None:
        os.close(reader)


def test_a_file_that_cannot_get_its_mode_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "talk.mp4").write_bytes(b"precious")

    def refuse(path: Path, mode: int) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "chmod", refuse)
    sink = FileSink("talk.mp4", tmp_path / "talk.mp4")
    with pytest.raises(SinkError, match="read-only"):
        sink.write(Fragment(b"a", 1, True))
    sink.close(is_whole=False, is_final=False)
    assert [path.name for path in tmp_path.iterdir()] == ["talk.mp4"]
