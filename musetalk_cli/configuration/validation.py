"""Check values against the annotations of a dataclass, with pydantic.

It takes a sixth of a second to load, a fifth of the time to the first byte, so it is loaded only for what is not
plainly right. msgspec loads faster, but its messages neither show the wrong value nor list the allowed ones, it
calls NaN out of range, and a ``Check`` would need a pass of its own: code for all of that would be longer than what it
replaces.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from musetalk_cli.configuration.plain_values import take_section
from musetalk_cli.configuration.schema import Range
from musetalk_cli.errors import ConfigError
from musetalk_cli.hints import one_of, quote, suggest

if TYPE_CHECKING:
    from pydantic import BaseModel

MAX_ECHO = 60  # characters of a wrong value that are shown
# By the first word of pydantic's kinds of errors.
NOUNS = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "string": "text",
    "tuple": "a list",
    "list": "a list",
}

Section = TypeVar("Section")
_models: dict[type, type[BaseModel]] = {}


def check_section(
    section: type[Section], values: Mapping[str, Any], name_value: Callable[[str, object], str] | None = None
) -> Section:
    """A section with these values, each checked against its annotation.

    Raises ConfigError for the first wrong one, behind what ``name_value`` says of its dotted key and its value.
    """
    with contextlib.suppress(ValueError):
        return take_section(section, values)

    from pydantic import ValidationError

    try:
        return _build(section, _model_of(section).model_validate(values))
    except ValidationError as error:
        first = error.errors()[0]
        path = [str(part) for part in first["loc"][:2]]
        key, value = ".".join(path), first["input"]
        named = name_value(key, value) if name_value else f"'{key}' is {shorten(value)}"
        raise _explain(named, value, first, _annotation_of(section, path)) from None


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


def _annotation_of(section: type, path: Sequence[str]) -> Any:
    """What a key's annotation allows: its type, and what stands beside that."""
    kind: Any = section
    for part in path:
        kind = get_type_hints(kind, include_extras=True).get(part) if is_dataclass(kind) else kind
    return kind


def _explain(named: str, value: object, error: Any, annotation: Any) -> ConfigError:
    """The error for a wrong value, which is called ``named``: what it must be, and what may have been meant."""
    if error["type"] == "value_error":
        reason = error["ctx"]["error"]
        return ConfigError(f"{named}: {reason}", hint=getattr(reason, "hint", ""))
    parts = list(_parts_of(annotation))
    choices = [each for part in parts if get_origin(part) is Literal for each in get_args(part)]
    if choices:
        hint = suggest(value, choices) if isinstance(value, str) else ""
        return ConfigError(f"{named}: must be {one_of(choices)}", hint=hint)
    what = NOUNS.get(error["type"].partition("_")[0], "")
    span = " ".join(part.describe() for part in parts if isinstance(part, Range))
    words = " ".join(word for word in (what, span) if word)
    return ConfigError(f"{named}: must be {words}" if words else f"{named}: {_lower(str(error['msg']))}")


def _parts_of(annotation: Any) -> Iterator[Any]:
    """An annotation and all that it is made of."""
    yield annotation
    if get_origin(annotation) is not Literal:
        for part in get_args(annotation):
            yield from _parts_of(part)


def _lower(text: str) -> str:
    return f"{text[:1].lower()}{text[1:]}"


def as_typed(value: object) -> str:
    """The value of an option as it stands on a command line."""
    return shorten_text(quote(f"{value:.12g}" if isinstance(value, float) else str(value)))


def shorten_text(text: str) -> str:
    """At most ``MAX_ECHO`` characters."""
    return text if len(text) <= MAX_ECHO else f"{text[:MAX_ECHO]}…"


def shorten(value: object) -> str:
    """A wrong value as a message shows it."""
    return shorten_text(repr(value))
