"""Settings files that are wrong: the message has the line and the column, whatever is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from musetalk_cli.configuration.loading import load_config
from musetalk_cli.configuration.yaml_file import MAX_BYTES, read_settings_file
from musetalk_cli.errors import ConfigError

LAUGHS = "".join(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 12))


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        ("video:\n  crf: [1\n", "3:1", ["not valid YAML", "from line 2"]),
        ("video:\n\tfps: 25\n", "2:1", ["not valid YAML", "spaces, not with tabs"]),
        ("video:\n  fps: 25\n crf: 20\n", "3:2", ["not valid YAML"]),
        ("avatar: nora: theo\n", "1:13", ["mapping values are not allowed here"]),
        ("avatar: 'nora\n", "2:1", ["not valid YAML", "from line 1"]),
        ("avatar: nora\n---\navatar: theo\n", "2:1", ["not valid YAML"]),
        ("video:\n  fpss: 25\n", "2:3", ["unknown key 'video.fpss'", "did you mean 'video.fps'?"]),
        ("video:\n  fps: fast\n", "2:8", ["'video.fps' is 'fast'"]),
        ("video:\n  fps: 25\n  crf: 99\n", "3:8", ["'video.crf' is 99", "51"]),
        ('avatar: "a\\0b"\n', "1:9", ["'avatar' is 'a\\x00b'", "must be text that a name can have"]),
        ('face_models: "\\ud800"\n', "1:14", ["must be text that a name can have"]),
        ('background: "\\0.png"\n', "1:13", ["an image file"]),
        ("serve:\n  port: 010000\n", "2:9", ["010000 would be 4096", "leave the 0 out"]),
        ("video: {fps: 031}\n", "1:14", ["031 would be 25"]),
        ("avatar: 0_07\n", "1:9", ["0_07 would be 7", "or quote text"]),
        ("serve:\n  avatars: [nora, 7]\n", "2:12", ["'serve.avatars' is 7"]),
        ("avatar: nora\nvideo: 25\n", "2:1", ["'video' is a section"]),
        ("\n- a\n- b\n", "2:1", ["must hold keys and values", "--print-config"]),
        ("video: {fps: 25}\naudio: {}\nvideo: {crf: 20}\n", "3:1", ["'video' appears twice, first at ", ":1:1"]),
        ("video:\n  fps: 25\n  fps: 30\n", "3:3", ["'video.fps' appears twice, first at ", ":2:3"]),
        ("? [a, b]\n: c\n", "1:3", ["a key must be a word"]),
        ("avatar: !!python/object:os.system {}\n", "1:9", ["not valid YAML", "could not determine a constructor"]),
        ("avatar: !!timestamp soon\n", "1:9", ["not valid YAML"]),
        ("avatar: !!int ''\n", "1:9", ["not valid YAML"]),
        (f"a: 1\nb: {'9' * 5000}\n", "2:4", ["not valid YAML"]),
        ("avatar: &a nora\nmodel: *a\n", "2:8", ["aliases are not supported"]),
        ("avatar: &a [*a]\n", "1:13", ["aliases are not supported"]),
        (f"a0: &a0 [x, x, x]\n{LAUGHS}", "2:10", ["aliases are not supported"]),
        ("avatar: " + "[" * 3000, "1:28", ["nested too deeply"]),
        ("avatar: no\x07ra\n", "1:11", ["not valid YAML", "character #x0007"]),
    ],
)
def test_the_line_and_column_are_named(tmp_path: Path, text: str, where: str, words: list[str]) -> None:
    path = tmp_path / "my settings.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config([path])
    assert str(caught.value).startswith(f"{path}:{where}: ")
    message = f"{caught.value} ({caught.value.hint})"
    assert all(word in message for word in words), message
    assert len(message) < 500


def test_what_is_not_utf_8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes("avatar: nora\nffmpeg: é".encode() + "ü".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"latin.yaml:2:10: not valid YAML: this is not UTF-8 text"):
        load_config([path])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_taken_for_one(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "marked.yaml"
    path.write_text("avatar: zoë\n", encoding=encoding)
    assert load_config([path]).config.avatar == "zoë"


def test_a_large_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "video.yaml"
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(ConfigError, match=r"video.yaml: larger than 256 KiB"):
        load_config([path])


def test_an_endless_file_is_refused() -> None:
    with pytest.raises(ConfigError, match="/dev/zero: larger"):
        load_config([Path("/dev/zero")])


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the settings .*: is a directory"):
        load_config([tmp_path])


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "---\n", "--- # nothing\n"])
def test_an_empty_file_says_nothing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text(text)
    assert read_settings_file(path, "empty.yaml").content == {}
