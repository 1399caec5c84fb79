"""Files in other containers appear when something in them plays, and not before."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from fixtures.media import describe
from fixtures.streams import encode_numbers, encoder_settings
from musetalk_cli.engine.outputs import remuxed_file
from musetalk_cli.engine.outputs.fragments import Fragment, InitSegment
from musetalk_cli.engine.outputs.remuxed_file import RemuxedFileSink, Remuxer
from musetalk_cli.engine.runtime.stage import Aborted
from musetalk_cli.engine.video.inprocess_encoder import InProcessEncoder
from musetalk_cli.errors import SinkError

RATE = Fraction(25)
NAMES = ["talk.mov", "talk.mkv"]


@pytest.fixture(scope="module")
def stream() -> list[InitSegment | Fragment]:
    pytest.importorskip("av")
    return encode_numbers(InProcessEncoder(encoder_settings()), 60, np.zeros((115_200, 1), np.int16), RATE)


@pytest.fixture
def mute(tmp_path: Path) -> Iterator[str]:
    """An ffmpeg that reads everything, writes nothing, and is killed."""
    script = tmp_path / "bin" / "ffmpeg"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\ncat > /dev/null\nkill -9 $$\n")
    script.chmod(0o755)
    yield str(script)


def open_sink(path: Path, ffmpeg: str) -> RemuxedFileSink:
    return RemuxedFileSink(str(path), path, Remuxer(ffmpeg, RATE))


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("is_replacing", [False, True])
def test_a_child_that_wrote_nothing_leaves_no_file(
    name: str, is_replacing: bool, mute: str, stream: list[InitSegment | Fragment], tmp_path: Path
) -> None:
    if is_replacing:
        (tmp_path / name).write_bytes(b"precious")
    sink = open_sink(tmp_path / name, mute)
    assert isinstance(stream[0], InitSegment)
    sink.begin(stream[0])
    for fragment in stream[1:6]:
        assert isinstance(fragment, Fragment)
        sink.write(fragment)
    with pytest.raises(SinkError, match="SIGKILL"):
        sink.close(is_whole=True, is_final=True)
    assert sink.where is None
    assert names_in(tmp_path) == ([name] if is_replacing else [])
    assert not is_replacing or (tmp_path / name).read_bytes() == b"precious"


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_has_appeared_meanwhile_is_kept(
    name: str, ffmpeg: str, stream: list[InitSegment | Fragment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = open_sink(tmp_path / name, ffmpeg)
    (tmp_path / name).write_bytes(b"precious")
    monkeypatch.setattr(remuxed_file, "_plays", lambda path, suffix: True)
    init_segment, fragment, *_ = stream
    assert isinstance(init_segment, InitSegment)
    assert isinstance(fragment, Fragment)
    sink.begin(init_segment)
    with pytest.raises(SinkError, match="exists"):  # when it would get its name
        sink.write(fragment)
    with pytest.raises(SinkError, match="exists"):
        sink.close(is_whole=False, is_final=False)
    assert names_in(tmp_path) == [name]
    assert (tmp_path / name).read_bytes() == b"precious"


def test_a_matroska_file_has_no_tags_of_mp4(ffmpeg: str, stream: list[InitSegment | Fragment], tmp_path: Path) -> None:
    sink = open_sink(tmp_path / "talk.mkv", ffmpeg)
    assert isinstance(stream[0], InitSegment)
    sink.begin(stream[0])
    for fragment in stream[1:]:
        assert isinstance(fragment, Fragment)
        sink.write(fragment)
    sink.close(is_whole=True, is_final=True)
    said = describe(ffmpeg, tmp_path / "talk.mkv")
    assert "matroska" in said
    assert not re.search(r"major_brand|compatible_brands|handler_name", said, re.IGNORECASE)


@pytest.mark.parametrize("name", NAMES)
def test_a_child_that_cannot_be_started_leaves_no_file(
    name: str, ffmpeg: str, stream: list[InitSegment | Fragment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise SinkError("too many open files")

    monkeypatch.setattr(remuxed_file, "FfmpegProcess", refuse)
    sink = open_sink(tmp_path / name, ffmpeg)
    assert isinstance(stream[0], InitSegment)
    assert isinstance(stream[1], Fragment)
    sink.begin(stream[0])
    with pytest.raises(SinkError, match="too many"):
        sink.write(stream[1])
    sink.close(is_whole=False, is_final=False)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("is_cancelled", [False, True])
def test_a_child_that_stands_still_replaces_nothing(
    name: str,
    is_cancelled: bool,
    ffmpeg: str,
    stream: list[InitSegment | Fragment],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remuxed_file, "CLOSE_S", 0.2)
    (tmp_path / name).write_bytes(b"precious")
    sink = open_sink(tmp_path / name, ffmpeg)
    assert isinstance(stream[0], InitSegment)
    sink.begin(stream[0])
    for fragment in stream[1:]:
        assert isinstance(fragment, Fragment)
        sink.write(fragment)
    assert sink._child is not None
    os.kill(sink._child._child.pid, signal.SIGSTOP)
    if is_cancelled:
        sink.cancel()
    with pytest.raises(Aborted) if is_cancelled else pytest.raises(SinkError, match="more than"):
        sink.close(is_whole=True, is_final=True)
    assert (tmp_path / name).read_bytes() == b"precious"
    assert set(names_in(tmp_path)) <= {name, name.replace(".", ".part1.")}


@pytest.mark.parametrize("name", NAMES)
def test_what_has_the_name_plays(name: str, ffmpeg: str, stream: list[InitSegment | Fragment], tmp_path: Path) -> None:
    abandoned = tmp_path / f".{name}.999999999-0"
    abandoned.touch()
    sink = open_sink(tmp_path / name, ffmpeg)
    assert isinstance(stream[0], InitSegment)
    sink.begin(stream[0])
    for fragment in stream[1:]:
        assert isinstance(fragment, Fragment)
        sink.write(fragment)
        if (tmp_path / name).exists():
            copy = tmp_path / f"copy-{name}"
            copy.write_bytes((tmp_path / name).read_bytes())
            play = [ffmpeg, "-v", "fatal", "-i", str(copy), "-frames:v", "1", "-f", "framecrc", "-map", "0:v", "-"]
            assert subprocess.run(play, capture_output=True, check=True).stdout.count(b"\n0,") == 1
            copy.unlink()
            break
    sink.close(is_whole=True, is_final=True)
    assert names_in(tmp_path) == [name]


@pytest.mark.parametrize("name", NAMES)
def test_another_file_that_has_appeared_meanwhile_stays(
    name: str, ffmpeg: str, stream: list[InitSegment | Fragment], tmp_path: Path
) -> None:
    sink = open_sink(tmp_path / name, ffmpeg)
    assert isinstance(stream[0], InitSegment)
    sink.begin(stream[0])
    (tmp_path / name).write_bytes(b"another's")
    with pytest.raises(SinkError):
        for fragment in stream[1:]:
            assert isinstance(fragment, Fragment)
            sink.write(fragment)
        sink.close(is_whole=True, is_final=True)
    with suppress(SinkError):
        sink.close(is_whole=False, is_final=False)
    assert (tmp_path / name).read_bytes() == b"another's"
    assert names_in(tmp_path) == [name]
