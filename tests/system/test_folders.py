"""Folders of users who have none."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from musetalk_cli.errors import ConfigError
from musetalk_cli.system import folders


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A user id without an entry, and no HOME; the folder of temporary files."""
    for name in ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)

    def find_nobody(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", find_nobody)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    return tmp_path


def test_without_a_home_everything_is_in_a_folder_that_is_the_users_alone(homeless: Path) -> None:
    own = homeless / f"musetalk-{os.getuid()}"
    assert folders.data_folder() == own
    assert folders.cache_folder() == own / "cache"
    assert folders.settings_folder() is None
    assert own.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_others_may_write_to_is_not_trusted(homeless: Path) -> None:
    own = homeless / f"musetalk-{os.getuid()}"
    own.mkdir()
    own.chmod(0o777)
    with pytest.raises(ConfigError, match="somebody else's") as refused:
        folders.data_folder()
    assert "MUSETALK_HOME" in refused.value.hint
    own.rmdir()
    own.symlink_to(homeless)
    with pytest.raises(ConfigError, match="somebody else's"):
        folders.data_folder()


def test_a_cache_that_cannot_be_written_is_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    assert folders.cache_folder() == tmp_path / f"musetalk-{os.getuid()}" / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "new"))
    assert folders.cache_folder() == tmp_path / "new" / "musetalk"


def test_a_tilde_without_a_home_is_told(homeless: Path) -> None:
    with pytest.raises(ConfigError, match="~/faces: there is no such home folder"):
        folders.expand("~/faces")


NO_USER = """
import pwd
def find_nobody(uid):
    raise KeyError(uid)
pwd.getpwuid = find_nobody
from musetalk_cli.__main__ import main
main()
"""


@pytest.mark.parametrize("command", ["render", "avatars"])
def test_commands_need_no_home(command: str, tone_wav: Callable[..., Path], tmp_path: Path) -> None:
    video = tmp_path / "video.mp4"
    arguments = {"render": [str(tone_wav(0.3)), "-o", str(video), "--size", "64"], "avatars": []}[command]
    settings = {name: value for name, value in os.environ.items() if name not in ("HOME", "MUSETALK_HOME")}
    done = subprocess.run(
        [sys.executable, "-c", NO_USER, command, *arguments],
        capture_output=True,
        env={**settings, "TMPDIR": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"nora" in done.stdout or video.stat().st_size > 1000
