"""The configuration: defaults < files < options, and where each value came from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

from musetalk_cli.configuration.files import name_of
from musetalk_cli.configuration.schema import Config
from musetalk_cli.configuration.validation import as_typed, check_section, shorten
from musetalk_cli.errors import ConfigError
from musetalk_cli.hints import find_nearest


class LoadedConfig(NamedTuple):
    """A configuration; for every dotted key the place or option that set it (``default`` for the rest); its files."""

    config: Config
    origins: dict[str, str]
    files: tuple[Path, ...] = ()


def load_config(files: Sequence[Path] = (), flags: Mapping[str, tuple[str, Any]] | None = None) -> LoadedConfig:
    """Merge defaults, then YAML files in order, then flags (``{dotted key: (flag's name, value)}``).

    Raises ConfigError that names the flag, or the file, line and column, the key and, for an unknown key, the nearest
    known one.
    """
    values: dict[str, Any] = {}
    origins = dict.fromkeys(flatten(asdict(Config())), "default")
    for path in files:
        for key, value, origin in _read_file(path):
            values[key], origins[key] = value, origin
    for key, (flag, value) in (flags or {}).items():
        values[key], origins[key] = value, flag
    return LoadedConfig(_check(values, origins) if values else Config(), origins, tuple(files))


def _check(values: Mapping[str, Any], origins: Mapping[str, str]) -> Config:
    """The configuration with these values (by dotted key). Raises ConfigError."""

    def name_value(key: str, value: object) -> str:
        origin = origins.get(key, key)
        return f"{origin} {as_typed(value)}" if origin.startswith("--") else f"{origin}: '{key}' is {shorten(value)}"

    return check_section(Config, _nest(values), name_value)


def override(config: Config, values: Mapping[str, Any], origins: Mapping[str, str]) -> Config:
    """A configuration with other values, by dotted key, each checked. Raises ConfigError behind the key's origin."""
    checked = _check(values, origins)
    for key in values:
        section, _, name = key.rpartition(".")
        if section:
            inner = replace(getattr(config, section), **{name: getattr(getattr(checked, section), name)})
            config = replace(config, **{section: inner})
        else:
            config = replace(config, **{name: getattr(checked, name)})
    return config


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the dotted key of every value that is not itself a section."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key


def _read_file(path: Path) -> Iterator[tuple[str, Any, str]]:
    """The dotted keys of a file, their values and the places of these. Raises ConfigError."""
    from musetalk_cli.configuration.yaml_file import read_settings_file

    file = read_settings_file(path, name_of(path))
    for key, value in known_items(file.content, file.place_of_key):
        yield key, value, file.values[key]


def known_items(
    content: Mapping[Any, Any], name_origin: Callable[[str], str], section: type = Config, prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    """The dotted keys of nested settings, and their values, which are not checked here.

    Raises ConfigError for an unknown key, behind what ``name_origin`` says of it.
    """
    if not isinstance(content, Mapping):
        raise ConfigError(f"{name_origin('')} must hold keys and values, not {shorten(content)}")
    kinds = get_type_hints(section)
    for key, value in content.items():
        name = f"{prefix}{key}"
        if key not in kinds:
            raise ConfigError(f"{name_origin(name)}: unknown key '{name}'", hint=_nearest(name))
        kind = kinds[key]
        if isinstance(kind, type) and is_dataclass(kind):
            if value is not None and not isinstance(value, Mapping):
                raise ConfigError(f"{name_origin(name)}: '{name}' is a section and must hold keys")
            yield from known_items(value or {}, name_origin, kind, f"{name}.")
        else:
            yield name, value


def _nearest(key: str) -> str:
    section, _, wanted = key.rpartition(".")
    names = list(flatten(asdict(Config())))
    if key in names:
        return f"write '{wanted}' below '{section}:'"
    top = [each.name for each in fields(Config)]
    known = {name: name.rpartition(".")[2] for name in dict.fromkeys([*names, *top])}
    near = find_nearest(wanted, known.values())
    if near:
        return f"did you mean '{next(name for name, last in known.items() if last == near)}'?"
    keys = [last for name, last in known.items() if section and name.startswith(f"{section}.")]
    return f"the keys of '{section}' are: {', '.join(keys)}" if keys else f"keys and sections are: {', '.join(top)}"


def _nest(values: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in values.items():
        *sections, name = key.split(".")
        place = nested
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = value
    return nested
