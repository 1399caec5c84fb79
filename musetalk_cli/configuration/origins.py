"""Where files have set the settings of a command, for what only a later check finds wrong with one of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from musetalk_cli.configuration.schema import Config
from musetalk_cli.configuration.validation import as_typed, shorten
from musetalk_cli.errors import MuseTalkError
from musetalk_cli.option_names import option

_places: dict[str, tuple[Any, str]] = {}  # by dotted key: the value that a file gave, and its NAME:LINE:COLUMN


def remember_places(config: Config, places: Mapping[str, str]) -> None:
    """From now on, these keys of this process's settings were set at these places, and no others were."""
    _places.clear()
    _places.update({key: (_value_of(config, key), place) for key, place in places.items()})


def list_places() -> dict[str, str]:
    """What was remembered, for another process."""
    return {key: place for key, (_, place) in _places.items()}


def place_of(config: Config, key: str) -> str:
    """Where a file has set this value; empty where an option, a manifest or nobody has."""
    value, place = _places.get(key, (None, ""))
    return place if _value_of(config, key) == value else ""


def name_setting(config: Config, key: str, flag: str) -> str:
    """A value in front of what is wrong with it, below ``blaming``: ``--model wrap``; in a file, 'model' is 'wrap'."""
    value = _value_of(config, key)
    return f"'{key}' is {shorten(value)}" if place_of(config, key) else f"{option(flag)} {as_typed(value)}"


@contextmanager
def blaming(config: Config, *keys: str) -> Iterator[None]:
    """An error that is raised meanwhile begins with the place of the first of these settings that a file has set."""
    try:
        yield
    except MuseTalkError as error:
        place = next(filter(None, (place_of(config, key) for key in keys)), "")
        if place and not error.place:
            error.place = place
            error.args = (f"{place}: {error}", *error.args[1:])
        raise


def _value_of(config: Config, key: str) -> Any:
    value: Any = config
    for name in key.split("."):
        value = getattr(value, name)
    return value
