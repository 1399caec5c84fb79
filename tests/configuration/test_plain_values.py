"""What the look takes, pydantic takes, too, and gives the same value."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
import pytest

from musetalk_cli.app.session_assembly import SessionArguments
from musetalk_cli.app.settings.arguments import PreparationArguments
from musetalk_cli.configuration import validation
from musetalk_cli.configuration.plain_values import take_section
from musetalk_cli.configuration.schema import Config, Range, VideoConfig
from musetalk_cli.errors import ConfigError


class Word(str):
    pass


class Number(enum.IntEnum):
    FORTY = 40


NUMBERS = (0, 1, 2, 3, 7, 40, 96, 512, 513, 2160, -1, -52, 2**31, 2**53 - 1, 2**53, 2**53 + 1, 2**63, 10**30, 10**400)
FLOATS = (0.0, -0.0, 0.04, 0.05, 0.21, 0.5, 1.0, 1.01, 1.1, 1.999, 2.0, 25.0, -52.5, 1e-320, 1e300, 512.0, 512.5)
WORDS = ("", " ", "\n", "auto", "none", "nora", "cuda:0", "0,1", "0,0", "gpu", "#FFF000", "White", "a.png", "5", "true")
ODD_WORDS = ("\ud800", "a\udcff", "nul\0", "ультра", Word("auto"), b"auto", Path("auto"), np.str_("auto"))
ODD_NUMBERS = (float("nan"), float("inf"), -float("inf"), 5j, Decimal(40), Fraction(40), Number.FORTY, np.int64(40))
ODD = (None, True, False, np.float64(1.0), np.float32(1.0), np.True_, np.array(40), object(), [], (), ["a"], ("a",))
SECTIONS = ({}, {"fps": 25}, {"fps": 25.0}, {"fps": True}, {"x": 1}, {1: 1}, MappingProxyType({"fps": 25.0}))
VALUES = (*NUMBERS, *FLOATS, *WORDS, *ODD_WORDS, *ODD_NUMBERS, *ODD, *SECTIONS, VideoConfig())

Key = tuple[type, str, Any, Any]  # the section, its key, the annotation and the default


def keys_of(section: type) -> Iterator[Key]:
    kinds = get_type_hints(section, include_extras=True)
    for field in fields(section):
        yield section, field.name, kinds[field.name], field.default
        if is_dataclass(field.default):
            yield from keys_of(type(field.default))


KEYS = [key for section in (Config, PreparationArguments, SessionArguments) for key in keys_of(section)]
every_key = pytest.mark.parametrize(
    ("section", "key", "annotation", "default"), KEYS, ids=[f"{section.__name__}.{key}" for section, key, _, _ in KEYS]
)


def values_at_the_edges(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
        return
    if isinstance(annotation, Range):
        for end in (annotation.least, annotation.most):
            yield from (end, end - 0.01, end + 0.01)
            if abs(end) < 2**53:
                yield from (int(end), int(end) - 1, int(end) + 1, float(end))
    for part in get_args(annotation):
        yield from values_at_the_edges(part)


@every_key
def test_what_is_taken_is_what_pydantic_gives(
    monkeypatch: pytest.MonkeyPatch, section: type, key: str, annotation: Any, default: Any
) -> None:
    def refuse(section: type, values: object) -> object:
        raise ValueError

    monkeypatch.setattr(validation, "take_section", refuse)
    for value in (*VALUES, *values_at_the_edges(annotation), default):
        try:
            taken = take_section(section, {key: value})
        except ValueError:
            continue
        expected = validation.check_section(section, {key: value})
        assert (taken, repr(taken)) == (expected, repr(expected)), value


@every_key
def test_plain_values_are_taken(section: type, key: str, annotation: Any, default: Any) -> None:
    if not (is_dataclass(default) or isinstance(default, tuple) or key == "life"):
        assert take_section(section, {key: default}) == section()
    else:
        with pytest.raises(ValueError):
            take_section(section, {key: default})


@pytest.mark.parametrize("values", [{"fpss": 25.0}, {"fps": 25.0, "size": 513}, {"fps": 61}, {1: 25.0}])
def test_one_value_that_is_not_plainly_right_leaves_all_to_pydantic(values: dict[Any, Any]) -> None:
    with pytest.raises(ValueError):
        take_section(VideoConfig, values)
    with pytest.raises(ConfigError):
        validation.check_section(VideoConfig, values)


def test_whole_numbers_become_those_that_a_rate_is_kept_as() -> None:
    taken = take_section(Config, {"video": {"fps": 30, "size": 512}, "device": "0,1"})
    assert (repr(taken.video.fps), taken.video.size, taken.device) == ("30.0", 512, "cuda:0,1")
