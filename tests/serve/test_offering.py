"""Which avatars a server offers that nobody named, and what becomes of one that cannot be opened."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from fixtures.prepared_avatars import write_avatar
from musetalk_cli.configuration.schema import Config, ServeConfig, VideoConfig
from musetalk_cli.engine.avatar.avatar_files import FACES_FILE
from musetalk_cli.errors import AvatarError
from musetalk_cli.serve import offering
from musetalk_cli.serve.offering import choose_offered
from musetalk_cli.serve.worker.offer import Offer


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setenv("MUSETALK_HOME", str(tmp_path))
    for age, name in enumerate(("me", "anna", "mia")):
        os.utime(write_avatar(tmp_path / "avatars" / name, 1), (1000 - age, 1000 - age))
    return Config(model="warp", video=VideoConfig(size=64))


def choose(config: Config, *, is_private: bool = True) -> tuple[str, ...]:
    return choose_offered(config, lambda line: None, is_private=is_private)[0]


def test_what_was_prepared_is_offered_to_this_machine_alone(config: Config) -> None:
    assert choose(config) == ("nora", "theo", "me", "anna", "mia")
    assert choose(replace(config, avatar="anna")) == ("anna", "nora", "theo", "me", "mia")
    assert choose(config, is_private=False) == ("nora", "theo")
    named = replace(config, serve=ServeConfig(avatars=("mia",)))
    assert choose(named) == ("nora", "mia")


def test_their_number_is_bounded(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offering, "MOST_FOUND", 2)
    told: list[str] = []
    assert choose_offered(config, told.append, is_private=True) == (
        ("nora", "theo", "me", "anna"),
        ("me", "anna", "mia"),
    )
    assert told == ["2 of 3 prepared avatars are offered, the newest; --allow-avatar NAME names others"]


def test_a_neural_model_offers_those_that_are_ready_for_it(config: Config) -> None:
    assert choose(replace(config, model="musetalk-1.5")) == ("nora", "theo")


def test_a_damaged_one_that_nobody_named_is_left_out(config: Config, tmp_path: Path) -> None:
    (tmp_path / "avatars" / "anna" / FACES_FILE).write_bytes(b"damaged")
    told: list[str] = []
    avatars, found = choose_offered(config, told.append, is_private=True)
    offer = Offer(config, avatars, lambda line, *_: told.append(line), found)
    assert [each.name for each in offer.describe()] == ["nora", "theo", "me", "mia"]
    offer.close()
    assert told[0].startswith("avatar 'anna' is not offered: ")
    with pytest.raises(AvatarError):
        Offer(config, avatars, lambda line, *_: None)
