"""Check values against the annotations of a dataclass, with pydantic.

It takes a sixth of a second to load, a fifth of the time to the first byte, so it is loaded only when there is
something to check. msgspec loads faster, but its messages neither show the wrong value nor list the allowed ones, it
calls NaN out of range, and a ``Check`` would need a pass of its own: code for all of that would be longer than what it
replaces.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from musetalk_cli.errors import ConfigError

if TYPE_CHECKING:
    from pydantic import BaseModel

MAX_ECHO = 60  # characters of a wrong value that are shown

Section = TypeVar("Section")
_models: dict[type, type[BaseModel]] = {}


def check_section(
    section: type[Section], values: Mapping[str, Any], name_origin: Callable[[str], str] = lambda key: ""
) -> Section:
    """A section with these values, each checked against its annotation.

    Raises ConfigError that names the first wrong one, behind what ``name_origin`` says of its dotted key.
    """
    from pydantic import ValidationError

    try:
        return _build(section, _model_of(section).model_validate(values))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"][:2])
        raise ConfigError(f"{name_origin(key)}{_explain(key, first)}") from None


def _model_of(section: type) -> type[BaseModel]:
    """Made once: a manifest may have settings in thousands of lines."""
    if section not in _models:
        _models[section] = _make_model(section)
    return _models[section]


def _make_model(section: type) -> type[BaseModel]:
    """A pydantic model with a section's keys: unknown ones, wrong types and not finite numbers are errors."""
    from pydantic import ConfigDict, create_model

    kinds = get_type_hints(section, include_extras=True)
    keys: dict[str, Any] = {
        key.name: (_model_of(kinds[key.name]), {}) if is_dataclass(key.default) else (kinds[key.name], key.default)
        for key in fields(section)
    }
    rules = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    return create_model(section.__name__, __config__=rules, **keys)


def _build(section: type[Section], checked: BaseModel) -> Section:
    """A section from the model that checked its values; keys that were not given keep their defaults."""
    kinds = get_type_hints(section)
    given = ((key, getattr(checked, key)) for key in checked.model_fields_set)
    return section(**{key: _build(kinds[key], value) if is_dataclass(kinds[key]) else value for key, value in given})


def _explain(key: str, error: Any) -> str:
    reason = str(error["msg"]).removeprefix("Value error, ")
    return f"'{key}' is {shorten(error['input'])}: {reason[:1].lower()}{reason[1:]}"


def shorten(value: object) -> str:
    """A wrong value as a message shows it."""
    given = repr(value)
    return given if len(given) <= MAX_ECHO else f"{given[:MAX_ECHO]}…"
