"""Avatars of a batch that cannot be opened."""

from __future__ import annotations

import traceback
from dataclasses import replace

import pytest

from musetalk_cli.app.batch import open_avatars
from musetalk_cli.app.batch.open_avatars import FAILED_S, OpenAvatars
from musetalk_cli.configuration.schema import Config
from musetalk_cli.engine.models.warp.model import MANY_EYE_STATES
from musetalk_cli.errors import AvatarError

CONFIG = replace(Config(), avatar="anna")


def test_what_cannot_be_opened_is_tried_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[Config] = []
    now = 0.0

    def choose(config: Config, tell: object) -> None:
        tried.append(config)
        raise AvatarError("there is no such avatar")

    monkeypatch.setattr("musetalk_cli.app.avatars.choice.choose_avatar", choose)
    monkeypatch.setattr(open_avatars.time, "monotonic", lambda: now)
    avatars = OpenAvatars(print)
    depths = []
    for _ in range(5):
        with (
            pytest.raises(AvatarError, match="no such avatar") as raised,
            avatars.use(CONFIG),
        ):
            pass
        depths.append(len(traceback.extract_tb(raised.value.__traceback__)))
    assert len(tried) == 1
    assert len(set(depths[1:])) == 1  # what is raised again keeps nothing alive of the time before
    now = FAILED_S + 1
    with pytest.raises(AvatarError), avatars.use(CONFIG):
        pass
    assert len(tried) == 2


def test_files_of_a_batch_share_the_blinks_of_their_first_seconds() -> None:
    avatars = OpenAvatars(print)
    with avatars.use(replace(Config(), model="warp")) as opened:
        eyes = opened.model._face._eyes
        assert eyes._draw.cache_parameters()["maxsize"] == MANY_EYE_STATES
    avatars.close()
