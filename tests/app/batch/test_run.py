"""What a batch does before its files are rendered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from musetalk_cli.app.batch.item import BatchItem
from musetalk_cli.app.batch.run import BatchRequest, _prepare_avatars
from musetalk_cli.configuration.schema import Config, VideoConfig
from musetalk_cli.errors import AvatarError


def test_an_avatar_that_cannot_be_prepared_is_tried_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[tuple[str, float]] = []

    def choose(config: Config, tell: object) -> None:
        tried.append((config.avatar, config.video.fps))
        raise AvatarError("no face")

    monkeypatch.setattr("musetalk_cli.app.avatars.choice.choose_avatar", choose)
    face = tmp_path / "face.png"
    face.touch()
    usual = replace(Config(), avatar=str(face))
    configs = [usual, usual, replace(usual, video=VideoConfig(fps=30)), usual]
    items = [BatchItem(f"{number}.wav", f"{number}.mp4", config) for number, config in enumerate(configs)]
    _prepare_avatars(items, BatchRequest((), (), is_quiet=True))
    assert tried == [(str(face), 25), (str(face), 30)]
