"""A manifest: one voice a line with its avatar, output and settings, as CSV or as JSON lines."""

from __future__ import annotations

import functools
import io
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from musetalk_cli.app.batch.item import BatchItem, list_lines
from musetalk_cli.app.batch.manifest_lines import KEYS, OUTPUT, VOICE, Row, bounded_lines, nearest_key, read_rows
from musetalk_cli.app.batch.names import STDIN, video_name
from musetalk_cli.app.batch.storage import join
from musetalk_cli.configuration.loading import override
from musetalk_cli.configuration.schema import Config
from musetalk_cli.engine.types.addresses import show_address
from musetalk_cli.errors import ConfigError, SourceError, system_words
from musetalk_cli.system.names import can_be_path


def read_manifest(name: str, folder: str, config: Config) -> list[BatchItem]:
    """The items of a manifest that is a file.

    Args:
        name: its path.
        folder: where outputs go that have no folder of their own.
        config: the settings of lines that give none.

    Raises:
        ConfigError: a line is wrong; its number and column are told.
        SourceError: the file cannot be read, or is empty.
    """
    try:
        with Path(name).open(encoding="utf-8-sig", newline="") as file:
            items = list(_read(bounded_lines(file, name), name, folder, config))
    except OSError as error:
        raise SourceError(f"cannot read the manifest {show_address(name)}: {system_words(error)}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{name} is not text in UTF-8", hint="save it as CSV UTF-8, or as JSON lines") from None
    wrong = [item for item in items if item.problem]
    if wrong:
        raise ConfigError(wrong[0].problem, hint=list_lines(wrong[1:]))
    if not items:
        raise SourceError(f"{name} names no voice", hint="a line for each voice, below a line with the columns' names")
    return items


def read_queue(folder: str, config: Config) -> Iterator[BatchItem]:
    """The items of a manifest on standard input, each as soon as its line has come. A wrong line is an item with a
    problem. Raises ConfigError where nothing can be read."""
    if sys.stdin is None:
        raise SourceError("standard input is closed", hint="pipe a manifest into it")
    lines = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", errors="replace", newline="")
    return _read(bounded_lines(lines, "standard input"), "standard input", folder, config)


def _read(lines: Iterable[str], name: str, folder: str, config: Config) -> Iterator[BatchItem]:
    for row in read_rows(lines, name):
        try:
            yield _item(row, folder, config)
        except ConfigError as error:
            problem = f"{error} ({error.hint})" if error.hint else str(error)
            yield BatchItem(_text(row.values, VOICE), _text(row.values, OUTPUT), config, row.place, problem)


def _text(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key)
    return value if isinstance(value, str) else ""


def _item(row: Row, folder: str, config: Config) -> BatchItem:
    """Raises ConfigError for a line that is wrong."""
    if row.problem:
        raise ConfigError(row.problem)
    given = {key: value for key, value in row.values.items() if value is not None}
    for key in (VOICE, OUTPUT):
        if not isinstance(given.get(key, ""), str):
            raise ConfigError(f"{row.place_of(key)}: '{key}' must be text")
        if not can_be_path(given.get(key, "")):
            raise ConfigError(f"{row.place_of(key)}: '{key}' must be text that a name can have")
    voice = given.pop(VOICE, "")
    if not voice or voice == STDIN:
        raise ConfigError(f"{row.place_of(VOICE)}: '{VOICE}' must name a file or an address")
    output = given.pop(OUTPUT, "") or video_name(voice)
    settings = {}
    for key, value in given.items():
        if key not in KEYS:
            raise ConfigError(f"{row.place_of(key)}: unknown key '{key}'", hint=nearest_key(key))
        settings[KEYS[key]] = value
    places = {KEYS[key]: row.place_of(key) for key in given}
    return BatchItem(voice, join(folder, output), _configure(config, settings, places), row.place)


def _configure(config: Config, settings: Mapping[str, Any], places: Mapping[str, str]) -> Config:
    """Raises ConfigError with the place of what is wrong."""
    if not settings:
        return config
    try:
        return _override(config, tuple(sorted(settings.items())))
    except TypeError:  # a list, which no setting of a render takes
        key = next(key for key, value in settings.items() if isinstance(value, list))
        raise ConfigError(f"{places[key]}: '{key}' must be one value") from None
    except ConfigError:
        override(config, settings, places)  # raises again, with the place
        raise


@functools.lru_cache(maxsize=1024)
def _override(config: Config, settings: tuple[tuple[str, Any], ...]) -> Config:
    return override(config, dict(settings), {})
