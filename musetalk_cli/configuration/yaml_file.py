"""Read a settings file: YAML, and the line and column of every key.

YAML has more than settings need, and some of it is dangerous in a file from elsewhere: aliases, which may multiply to
gigabytes, objects of Python, keys that appear twice. All of that is refused, with the place where it is.
"""

from __future__ import annotations

import codecs
import errno
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from musetalk_cli.errors import ConfigError, system_words

MAX_BYTES = 256 * 1024  # configs/default.yaml, with all its comments, is 8 kB
MAX_DEPTH = 20  # sections and lists inside each other; settings need three
MAP_TAG = "tag:yaml.org,2002:map"
INT_TAG = "tag:yaml.org,2002:int"
OCTAL = re.compile(r"[-+]?0([0-7_]*[1-7][0-7_]*)")  # of YAML 1.1; nobody means it
# What PyYAML raises besides its own errors for a value that its tag or its looks promise: a date without digits,
# 5000 digits.
BAD_VALUE = (ValueError, ArithmeticError, LookupError, AttributeError, TypeError)


@dataclass(frozen=True)
class SettingsFile:
    """The nested ``content`` of a file; the places of its keys and of their values, ``NAME:LINE:COLUMN``, by dotted
    key."""

    name: str
    content: dict[str, Any]
    keys: dict[str, str] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)

    def place_of_key(self, key: str) -> str:
        """Where a key stands; the file where that is not known."""
        return self.keys.get(key, self.name)


def read_settings_file(path: Path, name: str) -> SettingsFile:
    """Read ``path``, which messages call ``name``. Raises ConfigError with the line and column of what is wrong."""
    text = _decode(_read_bytes(path, name), name)
    try:
        loader = _Loader(text)
        try:
            return _read(loader, name)
        finally:
            loader.dispose()
    except yaml.reader.ReaderError as error:
        place = _place_in(text[: error.position], name)
        raise ConfigError(f"{place}: not valid YAML: the character #x{error.character:04x} is not allowed") from None
    except yaml.MarkedYAMLError as error:
        raise _explain(error, name) from None


def _read(loader: _Loader, name: str) -> SettingsFile:
    node = loader.get_single_node()
    file = SettingsFile(name, {})
    if node is None or (isinstance(node, yaml.ScalarNode) and not node.value):
        return file
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(
            f"{_place(node.start_mark, name)}: a settings file must hold keys and values",
            hint="musetalk render --print-config shows all of them",
        )
    file.content.update(_collect(loader, node, file, ""))
    return file


def _collect(loader: _Loader, node: yaml.MappingNode, file: SettingsFile, prefix: str) -> dict[str, Any]:
    """The values of a section and of those inside it; their places are added to ``file``."""
    content: dict[str, Any] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise yaml.MarkedYAMLError(problem="a key must be a word", problem_mark=key_node.start_mark)
        key = str(key_node.value)
        if key in content:
            problem = f"'{prefix}{key}' appears twice, first at {file.keys[prefix + key]}"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=key_node.start_mark)
        file.keys[prefix + key] = _place(key_node.start_mark, file.name)
        file.values[prefix + key] = _place(value_node.start_mark, file.name)
        is_section = isinstance(value_node, yaml.MappingNode) and value_node.tag == MAP_TAG
        content[key] = (
            _collect(loader, value_node, file, f"{prefix}{key}.") if is_section else _construct(loader, value_node)
        )
    return content


def _construct(loader: _Loader, node: yaml.Node) -> Any:
    if node.tag == INT_TAG and (found := OCTAL.fullmatch(node.value)):
        problem = f"{node.value} would be {int(found[1].replace('_', ''), 8)}, as a number that begins with 0 is octal"
        raise yaml.MarkedYAMLError(problem=f"{problem}; leave the 0 out, or quote text", problem_mark=node.start_mark)
    try:
        return loader.construct_object(node, deep=True)
    except BAD_VALUE as error:
        raise yaml.MarkedYAMLError(problem=str(error), problem_mark=node.start_mark) from None


class _Loader(yaml.SafeLoader):
    """Builds nodes with their places, and refuses aliases and deep nesting before either costs anything."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="aliases are not supported; repeat the value", problem_mark=mark)
        if self._depth >= MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem="nested too deeply", problem_mark=mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _read_bytes(path: Path, name: str) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        hint = "--no-user-config ignores the user configuration file" if error.errno == errno.EACCES else ""
        raise ConfigError(f"cannot read the settings {name}: {system_words(error)}", hint=hint) from None
    if len(data) > MAX_BYTES:
        raise ConfigError(
            f"{name}: larger than {MAX_BYTES // 1024} KiB, so these are no settings", hint="name a YAML file"
        )
    return data


def _decode(data: bytes, name: str) -> str:
    """UTF-8, or UTF-16 with a byte order mark, which some editors on Windows write."""
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        place = _place_in(data[: error.start].decode(encoding, "replace"), name)
        raise ConfigError(f"{place}: not valid YAML: this is not {error.encoding.upper()} text") from None


def _explain(error: yaml.MarkedYAMLError, name: str) -> ConfigError:
    mark = error.problem_mark or error.context_mark
    begun = error.context_mark
    context = f" ({error.context}, from line {begun.line + 1})" if error.context and begun else ""
    hint = "indent with spaces, not with tabs" if "'\\t'" in str(error.problem) else ""
    where = _place(mark, name) if mark else name
    return ConfigError(f"{where}: not valid YAML: {error.problem or error.context}{context}", hint=hint)


def _place(mark: yaml.Mark, name: str) -> str:
    return f"{name}:{mark.line + 1}:{mark.column + 1}"


def _place_in(text: str, name: str) -> str:
    """The place behind ``text``, the beginning of a file."""
    line = text.rpartition("\n")[2]
    return f"{name}:{text.count(chr(10)) + 1}:{len(line) + 1}"
