"""What clients may name, and what the server's owner may."""

from __future__ import annotations

from pathlib import Path

import pytest

from musetalk_cli.configuration.schema import Config, VideoConfig
from musetalk_cli.errors import AvatarError, ConfigError
from musetalk_cli.serve.protocol import Start
from musetalk_cli.serve.worker.offer import Offer, RefusedError

CONFIG = Config(model="warp", video=VideoConfig(size=128))


def test_the_first_avatar_is_shown_where_none_is_named() -> None:
    offer = Offer(CONFIG, ["theo", "nora"], print)
    opened = offer.open_session(Start(type="start"))
    assert opened.ready.avatar == "theo"
    assert (opened.ready.width, opened.ready.height) == (128, 128)
    opened.session.close()
    assert [(avatar.name, avatar.kind) for avatar in offer.describe()] == [("theo", "built in"), ("nora", "built in")]
    offer.close()


def test_an_avatar_that_does_not_exist_is_an_error_and_nothing_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []
    monkeypatch.setattr("musetalk_cli.app.session_assembly.OpenAvatar.close", lambda avatar: closed.append(avatar.name))
    with pytest.raises(AvatarError, match="there is no avatar 'norra'"):
        Offer(CONFIG, ["nora", "norra"], print)
    assert closed == ["nora"]


def test_two_avatars_of_one_name_are_an_error() -> None:
    with pytest.raises(ConfigError, match="two avatars are called 'nora'"):
        Offer(CONFIG, ["nora", "nora"], print)


@pytest.mark.parametrize("name", ["NORA", "nora ", "nora/", "./nora", "nora\0", "", "theo"])
def test_a_name_is_exactly_one_that_is_offered(name: str) -> None:
    offer = Offer(CONFIG, ["nora"], print)
    with pytest.raises(RefusedError):
        offer.open_session(Start.model_construct(type="start", avatar=name, model=None, size=None, fps=None))
    offer.close()


def test_a_file_of_the_owner_has_its_stem_as_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    class Opened:
        def close(self) -> None:
            pass

    def open_it(config: Config, tell: object) -> Opened:
        opened.append(config.avatar)
        return Opened()

    monkeypatch.setattr("musetalk_cli.serve.worker.offer.open_avatar", open_it)
    path = tmp_path / "me.png"
    path.touch()
    offer = Offer(CONFIG, [str(path)], print)
    assert opened == [str(path)]
    with pytest.raises(RefusedError, match="no such avatar"):
        offer.open_session(Start(type="start", avatar=str(path)[:64]))
    assert opened == [str(path)]
    offer.close()
