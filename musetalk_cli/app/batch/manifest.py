"""A manifest: one voice a line with its avatar, output and settings, as CSV or as JSON lines."""

from __future__ import annotations

import csv
import functools
import io
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import chain, count
from pathlib import Path
from typing import Any, TextIO

from musetalk_cli.app.batch.inputs import STDIN, video_name
from musetalk_cli.app.batch.item import BatchItem
from musetalk_cli.app.flags import KEY_OF_FLAG
from musetalk_cli.configuration.loading import flatten, override
from musetalk_cli.configuration.schema import Config
from musetalk_cli.errors import ConfigError, SourceError
from musetalk_cli.hints import suggest

VOICE, OUTPUT = "voice", "output"
DELIMITERS = ",;\t"
MAX_LINE_CHARACTERS = 1 << 16
NUM_TOLD = 5  # wrong lines that are named
# What a line may set: the dotted keys of a settings file, and the names of the options that stand for one.
KEYS = {**{key: key for key in flatten(asdict(Config()))}, **KEY_OF_FLAG}


@dataclass(frozen=True)
class _Row:
    """A line as it was read: its place, its values by column and the places of these; of a wrong one, what is wrong."""

    place: str
    values: Mapping[str, Any]
    places: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""

    def place_of(self, key: str) -> str:
        """Where a value stands."""
        return self.places.get(key, self.place)


def read_manifest(name: str, folder: Path, config: Config) -> list[BatchItem]:
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
            items = list(_read(_bounded(file, name), name, folder, config))
    except OSError as error:
        raise SourceError(f"cannot read the manifest {name}: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{name} is not text in UTF-8", hint="save it as CSV UTF-8, or as JSON lines") from None
    wrong = [item for item in items if item.problem]
    if wrong:
        more = [item.origin.rpartition(":")[2] for item in wrong[1:]]
        lines = f"wrong are also the lines {', '.join(more[:NUM_TOLD])}{' …' if more[NUM_TOLD:] else ''}"
        raise ConfigError(wrong[0].problem, hint=lines if more else "")
    if not items:
        raise SourceError(f"{name} names no voice", hint="a line for each voice, below a line with the columns' names")
    return items


def read_queue(folder: Path, config: Config) -> Iterator[BatchItem]:
    """The items of a manifest on standard input, each as soon as its line has come. A wrong line is an item with a
    problem. Raises ConfigError where nothing can be read."""
    if sys.stdin is None:
        raise SourceError("standard input is closed", hint="pipe a manifest into it")
    lines = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", errors="replace", newline="")
    return _read(_bounded(lines, "standard input"), "standard input", folder, config)


def _bounded(file: TextIO, name: str) -> Iterator[str]:
    """The lines of a file. Raises ConfigError for one that is too long: /dev/zero and a video have no end of line."""
    for number in count(1):
        line = file.readline(MAX_LINE_CHARACTERS + 1)
        if not line:
            return
        if len(line) > MAX_LINE_CHARACTERS:
            raise ConfigError(
                f"{name}:{number}: longer than {MAX_LINE_CHARACTERS >> 10} KiB, so this is no manifest",
                hint="a manifest is CSV or JSON lines",
            )
        yield line


def _read(lines: Iterable[str], name: str, folder: Path, config: Config) -> Iterator[BatchItem]:
    for row in _rows(lines, name):
        try:
            yield _item(row, folder, config)
        except ConfigError as error:
            problem = f"{error} ({error.hint})" if error.hint else str(error)
            yield BatchItem(_text(row.values, VOICE), _text(row.values, OUTPUT), config, row.place, problem)


def _text(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key)
    return value if isinstance(value, str) else ""


def _rows(lines: Iterable[str], name: str) -> Iterator[_Row]:
    """Read as CSV or as JSON lines, which the first line tells."""
    numbered = ((number, line) for number, line in enumerate(lines, 1))
    first = next(((number, line) for number, line in numbered if line.strip()), None)
    if first is None:
        return
    if first[1].lstrip().startswith("{"):
        yield from (_json_row(line, f"{name}:{number}") for number, line in chain([first], numbered) if line.strip())
    else:
        yield from _csv_rows(first, (line for _, line in numbered), name)


def _json_row(line: str, place: str) -> _Row:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:
        column = getattr(error, "colno", 1)
        return _Row(place, {}, problem=f"{place}:{column}: not valid JSON: {str(getattr(error, 'msg', error)).lower()}")
    if not isinstance(content, dict):
        return _Row(place, {}, problem=f'{place}: must be an object, such as {{"voice": "a.wav"}}')
    values = dict(_flat(content))
    at = {key: max(line.find(f'"{name}"') for name in (key, key.rpartition(".")[2])) for key in values}
    return _Row(place, values, {key: f"{place}:{column + 1}" for key, column in at.items()})


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _csv_rows(first: tuple[int, str], lines: Iterator[str], name: str) -> Iterator[_Row]:
    number, head = first
    delimiter = max(DELIMITERS, key=head.count)
    columns = [cell.strip() for cell in next(csv.reader([head], delimiter=delimiter))]
    if VOICE not in columns:
        hint = "the first line names the columns, such as voice,avatar,output"
        raise ConfigError(f"{name}:{number}: no column is called '{VOICE}'", hint=hint)
    for column, title in enumerate(columns, 1):
        if title not in (VOICE, OUTPUT) and title not in KEYS:
            raise ConfigError(f"{name}:{number}: column {column}: unknown column '{title}'", hint=_nearest(title))
        if title in columns[: column - 1]:
            raise ConfigError(f"{name}:{number}: column {column}: '{title}' appears twice")
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        place = f"{name}:{number + reader.line_num + 1}"
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield _Row(place, {}, problem=f"{place}: not valid CSV: {error}")
            continue
        if len(cells) > len(columns) and any(cell.strip() for cell in cells[len(columns) :]):
            yield _Row(place, {}, problem=f"{place}: column {len(columns) + 1}: there are only {len(columns)} columns")
        elif any(cell.strip() for cell in cells):
            named = zip(columns, cells, strict=False)
            values = {title: _value(title, cell.strip()) for title, cell in named if cell.strip()}
            yield _Row(place, values, {title: f"{place}: column {at}" for at, title in enumerate(columns, 1)})


def _value(title: str, cell: str) -> Any:
    """A cell as a settings file would have it: ``true``, ``25``, or text."""
    if title in (VOICE, OUTPUT) or isinstance(_default(KEYS[title]), str):
        return cell
    import yaml

    try:
        value = yaml.safe_load(cell)
    except yaml.YAMLError:
        return cell
    return value if isinstance(value, bool | int | float) else cell


def _default(key: str) -> Any:
    value: Any = Config()
    for part in key.split("."):
        value = getattr(value, part)
    return value


def _item(row: _Row, folder: Path, config: Config) -> BatchItem:
    """Raises ConfigError for a line that is wrong."""
    if row.problem:
        raise ConfigError(row.problem)
    given = {key: value for key, value in row.values.items() if value is not None}
    for key in (VOICE, OUTPUT):
        if not isinstance(given.get(key, ""), str):
            raise ConfigError(f"{row.place_of(key)}: '{key}' must be text")
    voice = given.pop(VOICE, "")
    if not voice or voice == STDIN:
        raise ConfigError(f"{row.place_of(VOICE)}: '{VOICE}' must name a file or an address")
    output = given.pop(OUTPUT, "") or video_name(voice)
    settings = {}
    for key, value in given.items():
        if key not in KEYS:
            raise ConfigError(f"{row.place_of(key)}: unknown key '{key}'", hint=_nearest(key))
        settings[KEYS[key]] = value
    places = {KEYS[key]: row.place_of(key) for key in given}
    return BatchItem(voice, str(folder / output), _configure(config, settings, places), row.place)


def _configure(config: Config, settings: Mapping[str, Any], places: Mapping[str, str]) -> Config:
    """Raises ConfigError with the place of what is wrong."""
    avatar = settings.get("avatar")
    if isinstance(avatar, str) and avatar.strip():  # the commonest one, without loading what checks
        config = replace(config, avatar=avatar)
        settings = {key: value for key, value in settings.items() if key != "avatar"}
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


def _nearest(key: str) -> str:
    names = [VOICE, OUTPUT, *KEYS]
    return suggest(key, names, f"there are {VOICE}, {OUTPUT}, avatar and the keys of settings")
