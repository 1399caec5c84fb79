"""Avatars of a batch: which stay open, and those that cannot be opened."""

from __future__ import annotations

import contextlib
import traceback
from dataclasses import replace
from types import SimpleNamespace

import pytest

from musetalk_cli.app.batch import open_avatars
from musetalk_cli.app.batch.open_avatars import FAILED_S, OpenAvatars
from musetalk_cli.configuration.schema import AudioConfig, Config, StreamConfig, VideoConfig
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


class Opened:
    """An avatar that only says what becomes of it."""

    def __init__(self, name: str, open_now: list[str]) -> None:
        self.name, self.num_users = name, 0
        self._open_now = open_now
        open_now.append(name)

    def close(self) -> None:
        self._open_now.remove(self.name)


@pytest.fixture
def open_now(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []
    monkeypatch.setattr(OpenAvatars, "_open", lambda self, config, keeps_alpha: Opened(config.avatar, names))
    return names


def test_those_that_were_not_used_for_longest_are_closed(open_now: list[str]) -> None:
    avatars = OpenAvatars(print)
    for name in "abcdea":
        with avatars.use(replace(CONFIG, avatar=name)):
            pass
    assert "".join(open_now) == "abcde"  # one in use, and four that are not
    with avatars.use(replace(CONFIG, avatar="f")):
        assert "".join(open_now) == "acdef"
        avatars.close()
        assert open_now == ["f"]
    avatars.close()
    assert open_now == []


def test_an_avatar_is_closed_in_both_of_its_sizes() -> None:
    closed: list[str] = []
    own, shown = (SimpleNamespace(close=lambda name=name: closed.append(name)) for name in ("own", "shown"))
    open_avatars._Opened("warp", None, own, shown, None).close()  # type: ignore[arg-type]
    assert sorted(closed) == ["own", "shown"]


def test_settings_that_change_no_face_share_an_avatar(open_now: list[str]) -> None:
    avatars = OpenAvatars(print)
    others = (
        CONFIG,
        replace(CONFIG, audio=AudioConfig(bitrate_kbps=64)),
        replace(CONFIG, stream=StreamConfig(when_slow="idle")),
    )
    with contextlib.ExitStack() as using:
        assert len({id(using.enter_context(avatars.use(each))) for each in others}) == 1
        using.enter_context(avatars.use(CONFIG, keeps_alpha=True))
        using.enter_context(avatars.use(replace(CONFIG, video=VideoConfig(fps=30))))
    assert open_now == ["anna"] * 3


def test_files_of_a_batch_share_the_blinks_of_their_first_seconds() -> None:
    avatars = OpenAvatars(print)
    with avatars.use(replace(Config(), model="warp")) as opened:
        eyes = opened.model._face._eyes
        assert eyes._draw.cache_parameters()["maxsize"] == MANY_EYE_STATES
    avatars.close()
