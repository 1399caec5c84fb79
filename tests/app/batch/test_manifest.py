"""CSV and JSON lines: what they mean, and how wrong lines are told."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from musetalk_cli.app.batch.item import BatchItem
from musetalk_cli.app.batch.manifest import read_manifest, read_queue
from musetalk_cli.configuration.schema import Config
from musetalk_cli.errors import ConfigError, MuseTalkError, SourceError


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def read(text: str, name: str = "list") -> list[BatchItem]:
    Path(name).write_bytes(text.encode())
    return read_manifest(name, "out", Config())


def test_csv_names_voice_avatar_output_and_settings() -> None:
    first, second = read(
        'voice,avatar,output,video.fps,size,warp.life\r\na.wav,anna,x/y.mp4,30,720,false\r\n"b, c.wav",,,,,\r\n'
    )
    assert (first.voice, first.output, first.origin) == ("a.wav", "out/x/y.mp4", "list:2")
    assert first.config.avatar == "anna"
    assert (first.config.video.fps, first.config.video.size, first.config.warp.life) == (30, 720, False)
    assert (second.voice, second.output, second.config) == ("b, c.wav", "out/b, c.mp4", Config())


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_spreadsheets_have_other_delimiters_and_a_mark(delimiter: str) -> None:
    (item,) = read("\ufeff" + "voice,avatar\na.wav,1\n".replace(",", delimiter))
    assert (item.voice, item.config.avatar) == ("a.wav", "1")


def test_json_lines_have_nested_or_dotted_settings() -> None:
    one, two = read(
        '\n{"voice": "a.wav", "video": {"size": 96}}\n\n{"voice": "b.wav", "video.size": 96, "avatar": null}'
    )
    assert one.config == two.config
    assert one.config.video.size == 96
    assert (one.origin, two.origin) == ("list:2", "list:4")


@pytest.mark.parametrize(
    ("text", "words", "hint"),
    [
        ("name,avatar\na,b", "list:1: no column is called 'voice'", "first line"),
        ("voice,avatr\na,b", "list:1: column 2: unknown column 'avatr'", "did you mean 'avatar'?"),
        ("voice,voice\na,b", "list:1: column 2: 'voice' appears twice", ""),
        ("voice,fps\na.wav,25\nb.wav,999", "list:3: column 2: 'video.fps' is 999", ""),
        ("voice,fps\na.wav,25,7", "list:2: column 3: there are only 2 columns", ""),
        ("voice,fps\na.wav,2024-13-40", "list:2: column 2: 'video.fps' is '2024-13-40'", ""),
        ("voice,fps\na.wav,0b_", "list:2: column 2: 'video.fps' is '0b_'", ""),
        (f"voice,fps\na.wav,{'9' * 5000}", "list:2: column 2: 'video.fps' is '999", ""),
        (f"voice,fps\na.wav,{'[' * 3000}", "list:2: column 2: 'video.fps' is '[[[", ""),
        ("voice,fps\n,25", "list:2: column 1: 'voice' must name a file", ""),
        ('voice,fps\n"a.wav,25', "list:2: not valid CSV", ""),
        ('{"voice": "a.wav"}\n{"voice": a}', "list:2:11: not valid JSON", ""),
        ('{"voice": "a.wav", "video": {"size": 97}}', "list:1:30: 'video.size' is 97: must be even", ""),
        ('{"voice": "a.wav", "sise": 96}', "list:1:20: unknown key 'sise'", "did you mean 'size'?"),
        ('{"voice": 7}', "list:1:2: 'voice' must be text", ""),
        ('{"voice": "\\u0000"}', "list:1:2: 'voice' must be text that a name can have", ""),
        ('{"voice": "a.wav", "output": "\\ud800.mp4"}', "list:1:20: 'output' must be text that a name can have", ""),
        ('{"voice": "a.wav", "serve.avatars": [1]}', "list:1:20: 'serve.avatars' must be one value", ""),
        ('{"voice": "a"}\n[1]', "list:2: must be an object", ""),
    ],
)
def test_a_wrong_line_is_told_with_its_place(text: str, words: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert words in str(caught.value)
    assert hint in f"{caught.value} {caught.value.hint}"


def test_all_wrong_lines_are_numbered() -> None:
    with pytest.raises(ConfigError) as caught:
        read("voice,fps\na,0\nb,25\nc,0\nd,0\n")
    assert caught.value.hint == "wrong are also the lines 4, 5"


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "names no voice"), (b"voice\n", "names no voice"), (b"voice\n\xff", "not text in UTF-8")],
)
def test_a_manifest_that_is_none(content: bytes, words: str) -> None:
    Path("list").write_bytes(content)
    with pytest.raises(MuseTalkError, match=words):
        read_manifest("list", ".", Config())
    with pytest.raises(SourceError, match="cannot read the manifest nowhere"):
        read_manifest("nowhere", ".", Config())


def test_a_queue_passes_wrong_lines_on(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = b'{"voice": "a.wav"}\nwrong\n{"voice": "b.wav"}\n'
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
    items = list(read_queue(".", Config()))
    assert [item.voice for item in items] == ["a.wav", "", "b.wav"]
    assert items[1].problem == "standard input:2:1: not valid JSON: expecting value"


def test_a_wrong_item_of_a_queue_keeps_its_names(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = b'{"voice": "a.wav", "output": "b.mp4", "sise": 96}\n' + b'{"voice": ' + b"[" * 60_000 + b"\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
    item, nested = read_queue(".", Config())
    assert (item.voice, item.output) == ("a.wav", "b.mp4")
    assert item.problem.startswith("standard input:1:39: unknown key 'sise'")
    assert nested.problem.startswith("standard input:2:1: not valid JSON")


def test_empty_cells_behind_the_last_column_are_none() -> None:
    (item,) = read("voice,fps\na.wav,30,,\n")
    assert (item.voice, item.config.video.fps) == ("a.wav", 30)


@pytest.mark.parametrize("head", ["voice\n", '{"voice": "a.wav"}\n'])
def test_a_file_without_ends_of_lines_is_refused_before_it_fills_the_memory(head: str) -> None:
    with pytest.raises(ConfigError, match=r"list:2: longer than 64 KiB"):
        read(head + "x" * 70_000)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="the system has no endless file")
def test_an_endless_file_is_no_manifest() -> None:
    with pytest.raises(ConfigError, match="/dev/zero:1: longer than 64 KiB"):
        read_manifest("/dev/zero", "out", Config())


def test_a_line_that_is_nested_deeply_is_wrong() -> None:
    with pytest.raises(ConfigError, match=r"list:1:\d+: not valid JSON"):
        read('{"voice": ' + "[" * 60_000)
