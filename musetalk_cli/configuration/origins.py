"""Where the settings of a command were set, for what only a later check finds wrong with one of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from musetalk_cli.configuration.schema import Config
from musetalk_cli.configuration.validation import as_typed, shorten
from musetalk_cli.errors import MuseTalkError

_origins: dict[str, tuple[Any, str]] = {}  # by dotted key: the value, and an option or a file's NAME:LINE:COLUMN


def remember_origins(config: Config, origins: Mapping[str, str]) -> None:
    """From now on, these options and files have set these keys of this process's settings, and nothing the others."""
    _origins.clear()
    _origins.update({key: (_value_of(config, key), origin) for key, origin in origins.items()})


def list_origins() -> dict[str, str]:
    """What was remembered, for another process."""
    return {key: origin for key, (_, origin) in _origins.items()}


def place_of(config: Config, key: str) -> str:
    """Where a file has set this value; empty where an option, a manifest, a program or nobody has."""
    origin = _origin_of(config, key)
    return "" if origin.startswith("--") else origin


def name_setting(config: Config, key: str) -> str:
    """A value in front of what is wrong with it, below ``blaming``: ``--model wrap``, or ``'model' is 'wrap'`` where no
    option has set it."""
    value, origin = _value_of(config, key), _origin_of(config, key)
    return f"{origin} {as_typed(value)}" if origin.startswith("--") else f"'{key}' is {shorten(value)}"


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


def _origin_of(config: Config, key: str) -> str:
    value, origin = _origins.get(key, (None, ""))
    return origin if _value_of(config, key) == value else ""


def _value_of(config: Config, key: str) -> Any:
    value: Any = config
    for name in key.split("."):
        value = getattr(value, name)
    return value
