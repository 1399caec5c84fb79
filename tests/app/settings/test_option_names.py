"""A program is told what it can pass, not what could be typed."""

from __future__ import annotations

import pytest

from musetalk_cli.app.settings.option_names import name_for_programs, naming_for_programs
from musetalk_cli.errors import AvatarError


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ("choose another --name, or replace it with --force", "choose another 'name', or replace it with force=True"),
        ("give a smaller --start", "give a smaller 'start_s'"),
        ("give another name with -o, or --overwrite", "give another name with 'output', or overwrite=True"),
        ("--encoder auto chooses one that works", "'stream.encoder' auto chooses one that works"),
        ("--device cpu works, but slowly", "'device' cpu works, but slowly"),
        # Commands, and names of files, stay.
        (
            "prepare it again with musetalk prepare-avatar --force",
            "prepare it again with musetalk prepare-avatar --force",
        ),
        ("musetalk models download x; --model warp", "musetalk models download x; 'model' warp"),
        ("a--size.mp4 and /x/--size exist already", "a--size.mp4 and /x/--size exist already"),
        ("--no-user-config, which no program needs", "--no-user-config, which no program needs"),
    ],
)
def test_options_are_named_as_arguments_and_settings(said: str, named: str) -> None:
    assert name_for_programs(said) == named


def test_an_error_is_raised_in_other_words() -> None:
    with pytest.raises(AvatarError, match=r"^'model' x: no such") as raised, naming_for_programs():
        raise AvatarError("--model x: no such", hint="choose another --model")
    assert raised.value.hint == "choose another 'model'"
