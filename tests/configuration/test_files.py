"""Which settings files are read, and which wins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import platformdirs
import pytest
import yaml

import musetalk_cli
from musetalk_cli.configuration.files import choose_files, preset_names, user_file
from musetalk_cli.configuration.loading import load_config
from musetalk_cli.errors import ConfigError

Run = Callable[..., "CompletedProcess[bytes]"]


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's file."""
    path = tmp_path / "own.yaml"
    path.write_text("avatar: theo\nvideo: {crf: 30, size: 512, fps: 30}\n")
    monkeypatch.setenv("MUSETALK_CONFIG", str(path))
    return path


def test_the_tests_read_no_settings_of_whoever_runs_them() -> None:
    assert user_file() is None


def test_the_users_file_is_in_the_systems_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MUSETALK_CONFIG")
    monkeypatch.setattr(platformdirs, "user_config_path", lambda name, appauthor: tmp_path / name)
    assert user_file() == tmp_path / "musetalk" / "config.yaml"
    assert choose_files(None, ()) == []
    (tmp_path / "musetalk").mkdir()
    (tmp_path / "musetalk" / "config.yaml").write_text("avatar: theo\n")
    assert choose_files(None, ()) == [tmp_path / "musetalk" / "config.yaml"]
    assert choose_files(None, (), reads_user_file=False) == []


def test_a_file_that_the_environment_names_must_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSETALK_CONFIG", "/nowhere/my.yaml")
    with pytest.raises(ConfigError, match=r"there is no settings file /nowhere/my\.yaml") as caught:
        choose_files(None, ())
    assert "MUSETALK_CONFIG" in caught.value.hint


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(ConfigError, match="--preset fast: must be quality or realtime") as caught:
        choose_files("fast", ())
    assert caught.value.hint == ""
    with pytest.raises(ConfigError) as caught:
        choose_files("qualty", ())
    assert caught.value.hint == "did you mean 'quality'?"
    with pytest.raises(ConfigError):
        choose_files("../../../etc/passwd", ())


def test_each_file_overrides_the_ones_before(own: Path, tmp_path: Path) -> None:
    named = tmp_path / "named.yaml"
    named.write_text("video: {fps: 50}\n")
    config, origins, _ = load_config(choose_files("quality", [named]), {"video.batch_size": ("--batch", 2)})
    assert (config.avatar, config.video.crf, config.video.fps, config.video.batch_size) == ("theo", 17, 50, 2)
    assert origins["avatar"] == f"{own}:1:9"
    assert origins["video.crf"].startswith("--preset quality:")
    assert origins["video.fps"].startswith(str(named))
    assert origins["silence.gate"] == "default"


def test_print_config_shows_the_users_file(run_cli: Run, own: Path) -> None:
    done = run_cli("render", "--preset", "realtime", "--fps", "50", "--print-config")
    lines = done.stdout.decode().splitlines()
    assert lines[0] == f"# user configuration file: {own}"
    assert any(line.split() == ["avatar:", '"theo"', "#", f"{own}:1:9"] for line in lines)
    assert any(line.split()[:5] == ["batch_size:", "4", "#", "--preset", "realtime:3:15"] for line in lines)
    values = yaml.safe_load(done.stdout)
    assert (values["video"]["size"], values["video"]["fps"], values["video"]["batch_size"]) == (512, 50, 4)


@pytest.mark.parametrize("command", ["render", "stream", "serve"])
def test_the_users_file_can_be_ignored(run_cli: Run, own: Path, command: str) -> None:
    done = run_cli(command, "--no-user-config", "--print-config")
    assert done.stdout.decode().startswith(f"# user configuration file: {own} (ignored)\n")
    assert yaml.safe_load(done.stdout)["avatar"] == "nora"


@pytest.mark.parametrize("command", [("render", "x.wav"), ("avatars",), ("prepare-avatar", "x.png"), ("bench",)])
def test_an_error_names_the_users_file(run_cli: Run, own: Path, command: tuple[str, ...]) -> None:
    own.write_text("avatar: theo\nvideo: {crf: 300}\n")
    done = run_cli(*command)
    assert done.returncode == 2
    assert done.stderr.decode().startswith(f"musetalk: error: {own}:2:14: 'video.crf' is 300: ")


def test_the_python_interface_reads_no_file(own: Path) -> None:
    own.write_text("avatar: [broken")
    assert [each.name for each in musetalk_cli.list_avatars()][:2] == ["nora", "theo"]


def test_there_are_two_presets() -> None:
    assert preset_names() == ["quality", "realtime"]
