"""Take the values that a look at their annotations shows to be right.

Loading pydantic takes a seventh of the CPU of a short ``render``, and options are nearly always right. Nothing is
refused here for good: what this look does not know, or does not like, is for pydantic to check and to name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from musetalk_cli.configuration.schema import Check, Range

EXACT = 2**53  # every whole number below is a float

Section = TypeVar("Section")
_annotations: dict[type, dict[str, Any]] = {}


def take_section(section: type[Section], values: Mapping[str, Any]) -> Section:
    """The section that pydantic would give for these values. Raises ValueError where only pydantic can tell."""
    kinds = _annotations_of(section)
    return section(**{key: _take(kinds.get(key), value) for key, value in values.items()})


def _annotations_of(section: type) -> dict[str, Any]:
    """Looked up once: a manifest may have settings in thousands of lines."""
    if section not in _annotations:
        _annotations[section] = get_type_hints(section, include_extras=True)
    return _annotations[section]


def _take(annotation: Any, value: Any) -> Any:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _apply(parts[1:], _take(parts[0], value))
    if origin in (Union, UnionType) and parts[1:] == (NoneType,):
        return None if value is None else _take(parts[0], value)
    if origin is Literal and any(type(value) is type(choice) and value == choice for choice in parts):
        return value
    if isinstance(annotation, type) and is_dataclass(annotation) and type(value) is dict:
        return take_section(annotation, value)
    return _take_plain(annotation, value)


def _take_plain(kind: Any, value: Any) -> Any:
    if kind is float and type(value) is int and abs(value) < EXACT:
        value = float(value)
    if kind not in (bool, int, float, str) or type(value) is not kind:
        raise ValueError(kind)
    if kind is float and not math.isfinite(value):
        raise ValueError(value)
    return value


def _apply(rules: tuple[Any, ...], value: Any) -> Any:
    for rule in rules:
        match rule:
            case Range(least, most) if least <= value <= most:
                pass
            case Check():
                value = rule.function(value)
            case _:
                raise ValueError(rule)
    return value
