"""The lines of a manifest, CSV or JSON lines: values by column or key, each with its place in the file."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import chain, count
from typing import Any, TextIO

from musetalk_cli.configuration.loading import flatten
from musetalk_cli.configuration.schema import Config
from musetalk_cli.errors import ConfigError
from musetalk_cli.hints import suggest
from musetalk_cli.option_names import KEY_OF_FLAG

VOICE, OUTPUT = "voice", "output"
DELIMITERS = ",;\t"
MAX_LINE_CHARACTERS = 1 << 16
# What a line may set: the dotted keys of a settings file, and the names of the options that stand for one.
KEYS = {**{key: key for key in flatten(asdict(Config()))}, **KEY_OF_FLAG}


@dataclass(frozen=True)
class Row:
    """A line as it was read: its place, its values by column and the places of these; of a wrong one, what is wrong."""

    place: str
    values: Mapping[str, Any]
    places: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""

    def place_of(self, key: str) -> str:
        """Where a value stands."""
        return self.places.get(key, self.place)


def bounded_lines(file: TextIO, name: str) -> Iterator[str]:
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


def read_rows(lines: Iterable[str], name: str) -> Iterator[Row]:
    """Read as CSV or as JSON lines, which the first line tells."""
    numbered = ((number, line) for number, line in enumerate(lines, 1))
    first = next(((number, line) for number, line in numbered if line.strip()), None)
    if first is None:
        return
    if first[1].lstrip().startswith("{"):
        yield from (_json_row(line, f"{name}:{number}") for number, line in chain([first], numbered) if line.strip())
    else:
        yield from _csv_rows(first, (line for _, line in numbered), name)


def _json_row(line: str, place: str) -> Row:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:
        column = getattr(error, "colno", 1)
        return Row(place, {}, problem=f"{place}:{column}: not valid JSON: {str(getattr(error, 'msg', error)).lower()}")
    if not isinstance(content, dict):
        return Row(place, {}, problem=f'{place}: must be an object, such as {{"voice": "a.wav"}}')
    values = dict(_flat(content))
    at = {key: max(line.find(f'"{name}"') for name in (key, key.rpartition(".")[2])) for key in values}
    return Row(place, values, {key: f"{place}:{column + 1}" for key, column in at.items()})


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _csv_rows(first: tuple[int, str], lines: Iterator[str], name: str) -> Iterator[Row]:
    number, head = first
    delimiter = max(DELIMITERS, key=head.count)
    columns = [cell.strip() for cell in next(csv.reader([head], delimiter=delimiter))]
    if VOICE not in columns:
        hint = "the first line names the columns, such as voice,avatar,output"
        raise ConfigError(f"{name}:{number}: no column is called '{VOICE}'", hint=hint)
    for column, title in enumerate(columns, 1):
        if title not in (VOICE, OUTPUT) and title not in KEYS:
            raise ConfigError(f"{name}:{number}: column {column}: unknown column '{title}'", hint=nearest_key(title))
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
            yield Row(place, {}, problem=f"{place}: not valid CSV: {error}")
            continue
        if len(cells) > len(columns) and any(cell.strip() for cell in cells[len(columns) :]):
            yield Row(place, {}, problem=f"{place}: column {len(columns) + 1}: there are only {len(columns)} columns")
        elif any(cell.strip() for cell in cells):
            named = zip(columns, cells, strict=False)
            values = {title: _value(title, cell.strip()) for title, cell in named if cell.strip()}
            yield Row(place, values, {title: f"{place}: column {at}" for at, title in enumerate(columns, 1)})


def _value(title: str, cell: str) -> Any:
    """A cell as a settings file would have it: ``true``, ``25``, or text."""
    if title in (VOICE, OUTPUT) or isinstance(_default(KEYS[title]), str):
        return cell
    import yaml

    try:
        value = yaml.safe_load(cell)
    except (yaml.YAMLError, ValueError, RecursionError):  # the 40th of a month, a number of thousands of digits
        return cell
    return value if isinstance(value, bool | int | float) else cell


def _default(key: str) -> Any:
    value: Any = Config()
    for part in key.split("."):
        value = getattr(value, part)
    return value


def nearest_key(key: str) -> str:
    names = [VOICE, OUTPUT, *KEYS]
    return suggest(key, names, f"there are {VOICE}, {OUTPUT}, avatar and the keys of settings")
