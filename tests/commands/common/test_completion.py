"""What the shells are offered."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import typer

from fixtures.prepared_avatars import write_avatar
from musetalk_cli.cli import PROGRAM, app
from musetalk_cli.commands.common.completion import complete_models, complete_setting
from musetalk_cli.configuration.files import preset_names
from musetalk_cli.configuration.schema import MODELS, Precision
from musetalk_cli.engine.avatar.portrait import portrait_names
from musetalk_cli.engine.weights.registry import WEIGHT_SETS
from musetalk_cli.engine.weights.store import WeightStore
from musetalk_cli.option_names import KEY_OF_FLAG


def complete(*words: str, kind: str = "bash") -> list[str]:
    """The last word is the one that is being typed."""
    bash = {"COMP_WORDS": " ".join((PROGRAM, *words)), "COMP_CWORD": str(len(words))}
    others = {"_TYPER_COMPLETE_ARGS": bash["COMP_WORDS"], "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    environment = {**os.environ, **bash, **others, "_MUSETALK_COMPLETE": f"complete_{kind}"}
    command = [sys.executable, "-m", "musetalk_cli"]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)
    assert done.stderr == b""
    return [line for line in done.stdout.decode().splitlines() if line]


@pytest.fixture(autouse=True)
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MUSETALK_HOME", str(tmp_path))
    write_avatar(tmp_path / "avatars" / "anna", num_frames=1)
    write_avatar(tmp_path / "avatars" / "my face", num_frames=1)
    (tmp_path / "avatars" / ".anna.part-1").mkdir()
    return tmp_path / "avatars"


def test_what_is_damaged_is_told_nobody_who_completes_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "imported.json").write_text("{")
    assert complete("render", "--model", "") == list(MODELS)
    monkeypatch.setenv("MUSETALK_HOME", "~nobody-of-that-name/musetalk")
    assert complete("render", "--avatar", "") == sorted(portrait_names())
    assert complete("render", "--model", "") == list(MODELS)


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("ren",), ["render"]),
        (("avatars", "re"), ["rename", "remove"]),
        (("render", "--avatar", ""), [*sorted(portrait_names()), "anna", r"my\ face"]),
        (("render", "--avatar", "a"), ["anna"]),
        (("serve", "--allow-avatar", "th"), ["theo"]),
        (("avatars", "remove", ""), ["anna", r"my\ face"]),
        (("avatars", "rename", ""), ["anna", r"my\ face"]),
        (("avatars", "show", "no"), ["nora"]),
        (("render", "--model", ""), list(MODELS)),
        (("render", "--precision", ""), list(get_args(Precision))),
        (("render", "--compat", ""), ["none", "upstream"]),
        (("dub", "--length", ""), ["clip", "voice", "longest"]),
        (("dub", "--fill", "p"), ["ping-pong"]),
        (("render", "--device", "c"), ["cuda", "cuda:0", "cpu"]),
        (("render", "--preset", ""), preset_names()),
        (("stream", "--encoder", ""), ["auto", "x264", "nvenc", "videotoolbox"]),
        (("stream", "--when-slow", ""), ["hold", "idle", "skip"]),
        (("stream", "--on-source-loss", ""), ["retry", "stop"]),
        (("stream", "--on-sink-loss", "s"), ["stop"]),
        (("stream", "--format", "s16"), ["s16le", "s16be"]),
        (("serve", "--log-format", ""), ["text", "json"]),
        (("bench", "--sweep", "b"), ["batch", "block"]),
        (("models", "verify", ""), [each.name for each in WEIGHT_SETS]),
        (("render", "--print"), ["--print-config"]),
        (("render", "--config", "my"), []),
        (("render", "speech"), []),
        (("prepare-avatar", "me"), []),
    ],
)
def test_bash_is_offered(words: tuple[str, ...], offered: list[str]) -> None:
    assert complete(*words) == offered


def test_avatars_of_a_folder_that_was_named(library: Path, tmp_path: Path) -> None:
    library.rename(tmp_path / "team")
    folder = str(tmp_path / "team")
    assert complete("render", "--avatar-dir", folder, "--avatar", "a") == ["anna"]
    assert complete("avatars", "--avatar-dir", folder, "remove", "a") == ["anna"]
    assert complete("avatars", "remove", "--avatar-dir", folder, "a") == ["anna"]


def test_zsh_and_fish_are_offered_names_and_what_they_are() -> None:
    zsh = "\n".join(complete("render", "--avatar", "a", kind="zsh"))
    assert '"anna":"prepared"' in zsh
    assert complete("render", "--avatar", "a", kind="fish") == ["anna\tprepared"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell_calls_the_program(shell: str) -> None:
    environment = {**os.environ, "_MUSETALK_COMPLETE": f"source_{shell}"}
    command = [sys.executable, "-m", "musetalk_cli"]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=True, text=True)
    assert f"_MUSETALK_COMPLETE=complete_{shell}" in done.stdout


def test_every_option_with_few_values_is_completed() -> None:
    """Options of settings for which the schema lists the values."""
    root = typer.main.get_command(app)
    options = {
        (name, param.name): param
        for name, command in root.commands.items()  # type: ignore[attr-defined]
        for param in command.params
        if param.name in KEY_OF_FLAG and complete_setting(KEY_OF_FLAG[param.name])()
    }
    assert {name for _, name in options} >= {"precision", "compat", "when_slow", "encoder", "log_format"}
    assert [key for key, param in options.items() if not offers(param)] == []


def test_models_of_ones_own_are_offered_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MUSETALK_HOME", str(tmp_path))
    WeightStore(tmp_path).keep_custom("mine", {"base": "musetalk-1.5", "files": {"unet": "/a.pth"}})
    assert complete_models() == [*MODELS, "mine"]


def offers(param: object) -> bool:
    return getattr(param, "_custom_shell_complete", None) is not None
