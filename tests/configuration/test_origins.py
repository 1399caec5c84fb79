"""What is wrong with a setting that only a later check can find is told with the place where a file has set it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from musetalk_cli.configuration.loading import load_config
from musetalk_cli.configuration.origins import blaming, list_origins, name_setting, place_of, remember_origins
from musetalk_cli.configuration.schema import Config
from musetalk_cli.errors import AvatarError, ConfigError

RENDER = ("render", "tone-0.2-1.wav", "-o", "o.mp4")
STREAM = ("stream", "--input", "tone-0.2-1.wav", "--no-pace", "-o", "o.mp4")
DUB = ("dub", "face.png", "tone-0.2-1.wav", "-o", "o.mp4")
SERVE = ("serve", "--port", "0")
WRAP = "'model' is 'wrap': must be auto, warp, "


@contextmanager
def remembering(folder: Path, text: str) -> Iterator[Config]:
    path = folder / "my.yaml"
    path.write_text(text)
    loaded = load_config([path])
    remember_origins(loaded.config, {key: origin for key, origin in loaded.origins.items() if origin != "default"})
    try:
        yield loaded.config
    finally:
        remember_origins(Config(), {})


@pytest.mark.parametrize(
    ("text", "command", "words"),
    [
        ("model: wrap", RENDER, f"my.yaml:1:8: {WRAP}"),
        ("model: wrap", STREAM, f"my.yaml:1:8: {WRAP}"),
        ("model: wrap", DUB, f"my.yaml:1:8: {WRAP}"),
        ("model: wrap", ("bench",), f"my.yaml:1:8: {WRAP}"),
        ("model: musetalk-1.5", DUB, "my.yaml:1:8: 'model' is 'musetalk-1.5': dub has only the warp model"),
        ("random_weights: true\nmodel: warp", RENDER, "my.yaml:1:17: the warp model has no random weights"),
        ("avatar: zebra", RENDER, "my.yaml:1:9: there is no avatar 'zebra'"),
        ("avatar: zebra", STREAM, "my.yaml:1:9: there is no avatar 'zebra'"),
        ("avatar: tone-0.2-1.wav", RENDER, "my.yaml:1:9: tone-0.2-1.wav has no video track"),
        ("\navatar_dir: my.yaml", ("avatars",), "my.yaml:2:13: cannot read the avatars in my.yaml"),
        ("avatar_dir: my.yaml\navatar: zebra", RENDER, "my.yaml:1:13: cannot read the avatars in my.yaml"),
        ("ffmpeg: none/such", RENDER, "my.yaml:1:9: no ffmpeg at 'none/such'"),
        ("ffmpeg: none/such", STREAM, "my.yaml:1:9: no ffmpeg at 'none/such'"),
        ("ffmpeg: none/such", ("prepare-avatar", "face.png"), "my.yaml:1:9: no ffmpeg at 'none/such'"),
        ("background: no.png", ("prepare-avatar", "face.png"), "my.yaml:1:13: "),
        ("compat: upstream", STREAM, "my.yaml:1:9: the official script uses up to 30 s"),
        ("stream:\n  encoder: nvenc", STREAM, "my.yaml:2:12: the encoder nvenc does not work here"),
    ],
)
def test_an_error_that_is_found_late_names_the_line(
    run_cli: Callable[..., Any], tone_wav: Callable[..., Path], tmp_path: Path, text: str, command: Any, words: str
) -> None:
    tone_wav(0.2)
    (tmp_path / "face.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "my.yaml").write_text(text)
    done = run_cli(*command, "--config", "my.yaml", cwd=tmp_path)
    assert f"error: {words}" in done.stderr.decode()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model: wrap", f"my.yaml:1:8: {WRAP}"),
        ("avatar: zebra", "my.yaml:1:9: there is no avatar 'zebra'"),
        ("serve: {avatars: [zebra]}", "my.yaml:1:18: there is no avatar 'zebra'"),
        ("serve: {token_file: none}", "my.yaml:1:21: cannot read the token file none"),
        ("serve: {host: 0.0.0.0}", "my.yaml:1:15: 0.0.0.0 is reached from other machines"),
        ("serve: {allow_origins: [zebra]}", "my.yaml:1:24: 'zebra' is no origin"),
        ("serve: {host: no.such.host.invalid, token_file: token}", "my.yaml:1:15: cannot bind no.such.host.invalid"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="there is no server on Windows")
def test_so_does_one_of_a_server_and_its_workers(
    run_cli: Callable[..., Any], tmp_path: Path, text: str, words: str
) -> None:
    pytest.importorskip("uvicorn")
    (tmp_path / "my.yaml").write_text(text)
    (tmp_path / "token").write_text("correct-horse-battery-staple")
    try:
        done = run_cli(*SERVE, "--config", "my.yaml", cwd=tmp_path)
    except subprocess.TimeoutExpired:
        pytest.fail("it serves")
    assert f"error: {words}" in done.stderr.decode()


def test_an_option_keeps_its_name_whatever_the_file_says(run_cli: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("model: warp")
    done = run_cli("render", "--demo", "--model", "wrap", "--config", "my.yaml", "-o", "o.mp4", cwd=tmp_path)
    assert done.stderr.decode().startswith("musetalk: error: --model wrap: must be auto, warp, ")


def test_a_setting_that_is_not_the_files_has_no_place(tmp_path: Path) -> None:
    """As in a manifest, whose lines have settings of their own."""
    with remembering(tmp_path, "model: wrap\nvideo: {fps: 30}") as config:
        other = replace(config, model="wrp")
        assert place_of(config, "model") == f"{tmp_path / 'my.yaml'}:1:8"
        assert place_of(config, "video.fps") == f"{tmp_path / 'my.yaml'}:2:14"
        assert (place_of(other, "model"), place_of(config, "avatar")) == ("", "")
        assert name_setting(config, "model") == "'model' is 'wrap'"
        assert name_setting(other, "model") == "'model' is 'wrp'"
        assert list_origins() == {"model": place_of(config, "model"), "video.fps": place_of(config, "video.fps")}
        remember_origins(other, {"model": "--model"})
        assert (place_of(other, "model"), name_setting(other, "model")) == ("", "--model wrp")
    assert place_of(config, "model") == ""


def test_a_manifest_line_is_named(run_cli: Callable[..., Any], tone_wav: Callable[..., Path], tmp_path: Path) -> None:
    tone_wav(0.2).rename(tmp_path / "v.wav")
    (tmp_path / "my.yaml").write_text("model: wrap")
    for lines, words in (
        ("voice,model\nv.wav,wrp\n", "error: list.csv:2: 'model' is 'wrp': must be auto, "),
        ("voice\nv.wav\n", f"error: list.csv:2: my.yaml:1:8: {WRAP}"),
    ):
        (tmp_path / "list.csv").write_text(lines)
        done = run_cli("render", "--manifest", "list.csv", "--config", "my.yaml", "-o", "out", cwd=tmp_path)
        assert words in done.stderr.decode()
        assert not (tmp_path / "out").exists()


def test_the_innermost_setting_is_blamed_once(tmp_path: Path) -> None:
    with remembering(tmp_path, "model: wrap\navatar: zebra\navatar_dir: none") as config:
        with pytest.raises(AvatarError) as caught, blaming(config, "avatar"), blaming(config, "avatar_dir"):
            raise AvatarError("cannot read", hint="try")
        assert (str(caught.value), caught.value.hint) == (f"{tmp_path / 'my.yaml'}:3:13: cannot read", "try")
        with pytest.raises(ConfigError, match=r"my\.yaml:1:8: no$"), blaming(config, "compat", "model"):
            raise ConfigError("no")
        with pytest.raises(ConfigError, match=r"^no$"), blaming(config, "compat"):
            raise ConfigError("no")
