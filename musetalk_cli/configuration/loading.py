"""The configuration: defaults < files < flags, and where each value came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

from musetalk_cli.configuration.schema import Config
from musetalk_cli.configuration.validation import check_section, shorten
from musetalk_cli.errors import ConfigError


class LoadedConfig(NamedTuple):
    """A configuration, and for every dotted key the file or flag that set it (``default`` for the rest)."""

    config: Config
    origins: dict[str, str]


def load_config(files: Sequence[Path] = (), flags: Mapping[str, tuple[str, Any]] | None = None) -> LoadedConfig:
    """Merge defaults, then YAML files in order, then flags (``{dotted key: (flag's name, value)}``).

    Raises ConfigError that names the file or flag, the key and, for an unknown key, the nearest known one.
    """
    values: dict[str, Any] = {}
    origins = dict.fromkeys(flatten(asdict(Config())), "default")
    for path in files:
        for key, value in _read_file(path):
            values[key], origins[key] = value, str(path)
    for key, (flag, value) in (flags or {}).items():
        values[key], origins[key] = value, flag
    return LoadedConfig(_check(values, origins) if values else Config(), origins)


def _check(values: Mapping[str, Any], origins: Mapping[str, str]) -> Config:
    """The configuration with these values (by dotted key). Raises ConfigError."""
    return check_section(Config, _nest(values), lambda key: f"{origins.get(key, key)}: ")


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the dotted key of every value that is not itself a section."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key


def _read_file(path: Path) -> list[tuple[str, Any]]:
    import yaml

    class Loader(yaml.SafeLoader):
        """A key that appears twice is an error; it is not the last one's."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            keys = [key.value for key, _ in node.value]
            twice = next((key for key in keys if keys.count(key) > 1), None)
            if twice is not None:
                raise yaml.YAMLError(f"key '{twice}' appears twice, near line {node.start_mark.line + 1}")
            return dict(super().construct_mapping(node, deep))

    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if content is None:
        return []
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold keys and values, as configs/default.yaml does")
    return list(known_items(content, str(path)))


def known_items(
    content: Mapping[Any, Any], origin: str, section: type = Config, prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    """The dotted keys of nested settings, and their values, which are not checked here.

    Raises ConfigError that names ``origin`` for an unknown key.
    """
    if not isinstance(content, Mapping):
        raise ConfigError(f"{origin} must hold keys and values, not {shorten(content)}")
    kinds = get_type_hints(section)
    for key, value in content.items():
        if key not in kinds:
            raise ConfigError(f"{origin}: unknown key '{prefix}{key}'", hint=_nearest(f"{prefix}{key}"))
        kind = kinds[key]
        if isinstance(kind, type) and is_dataclass(kind):
            if value is not None and not isinstance(value, Mapping):
                raise ConfigError(f"{origin}: '{prefix}{key}' is a section and must hold keys")
            yield from known_items(value or {}, origin, kind, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _nearest(key: str) -> str:
    import difflib

    section, _, wanted = key.rpartition(".")
    known = {name: name.rpartition(".")[2] for name in flatten(asdict(Config()))}
    near = difflib.get_close_matches(wanted, known.values(), n=1)
    if near:
        return f"did you mean '{next(name for name, last in known.items() if last == near[0])}'?"
    keys = [last for name, last in known.items() if section and name.startswith(f"{section}.")]
    return f"the keys of '{section}' are: {', '.join(keys)}" if keys else f"the keys are: {', '.join(known)}"


def _nest(values: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in values.items():
        *sections, name = key.split(".")
        place = nested
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = value
    return nested
