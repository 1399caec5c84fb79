"""What an avatar is prepared with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fixtures.prepared_avatars import write_avatar
from musetalk_cli.app.avatars.preparation import PreparedAvatar, _choose_tools, prepare_named
from musetalk_cli.app.settings.arguments import PreparationArguments
from musetalk_cli.configuration.schema import Config
from musetalk_cli.engine.avatar.inputs import sources
from musetalk_cli.engine.avatar.preparation import prepare
from musetalk_cli.engine.avatar.whole_folder import create_folder
from musetalk_cli.engine.runtime import ffmpeg_choice
from musetalk_cli.errors import AvatarError


def test_a_preparation_runs_the_ffmpeg_that_starts_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    """It starts two, and reads nothing but files."""
    asked = list[dict[str, Any]]()

    def choose(choice: str, *_: Any, **more: Any) -> str:
        asked.append(more)
        return choice

    monkeypatch.setattr(ffmpeg_choice, "choose_ffmpeg", choose)
    assert _choose_tools(Config(), print).ffmpeg == "auto"
    assert asked == [{"is_local": True}]


def prepare_while_another_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sha256: str, arguments: PreparationArguments
) -> PreparedAvatar:
    """Prepare an avatar of a name that nobody has, which another process makes meanwhile; its input is ``ab…``."""

    def prepare_late(source: Path, folder: Path, *_: Any, is_replacing: bool, **more: Any) -> None:
        write_avatar(folder, num_frames=1)
        with create_folder(folder, is_replacing=is_replacing) as part:
            (part / "mine").touch()

    monkeypatch.setattr(prepare, "prepare_avatar", prepare_late)
    monkeypatch.setattr(ffmpeg_choice, "choose_ffmpeg", lambda choice, *_, **more: choice)
    monkeypatch.setattr(sources, "hash_source", lambda *_: sha256)
    cv2.imwrite(str(tmp_path / "me.png"), np.zeros((64, 64, 3), np.uint8))
    config = Config(avatar_dir=str(tmp_path / "avatars"))
    return prepare_named(
        config, tmp_path / "me.png", arguments, force=False, report=lambda each: None, tell=lambda text: None
    )


def test_an_avatar_that_another_process_makes_meanwhile_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AvatarError, match="avatar 'me' exists already, made from another input"):
        prepare_while_another_does(tmp_path, monkeypatch, "cd" * 32, PreparationArguments())
    with pytest.raises(AvatarError, match="exists already"):
        prepare_while_another_does(tmp_path, monkeypatch, "ab" * 32, PreparationArguments("small", size=64))
    assert not list(tmp_path.rglob("mine"))


def test_one_that_another_process_makes_of_the_same_input_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = prepare_while_another_does(tmp_path, monkeypatch, "ab" * 32, PreparationArguments())
    assert (prepared.folder, prepared.is_new) == (tmp_path / "avatars" / "me", False)
