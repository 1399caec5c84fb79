"""What of a batch is left to do, and what is wrong with it before work starts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from musetalk_cli.app.avatars.choice import check_avatar
from musetalk_cli.app.batch.item import BatchItem, list_lines
from musetalk_cli.app.batch.names import STDIN
from musetalk_cli.app.batch.report_file import Records
from musetalk_cli.app.batch.storage import StoredSizes, identify, is_stored
from musetalk_cli.app.input_check import check_not_replaced, check_voice
from musetalk_cli.app.model_choice import check_model
from musetalk_cli.engine.outputs.destinations import FILE_SUFFIXES
from musetalk_cli.engine.outputs.sinks import find_unfinished
from musetalk_cli.engine.types.addresses import show_address
from musetalk_cli.errors import MuseTalkError, SinkError

NO_FILE = -1  # the size of a folder, a pipe or a device


class ExistsError(SinkError):
    """An output that is there already."""


@dataclass(frozen=True)
class Rules:
    """What becomes of outputs that exist: they are replaced, or what is whole is left, or they are refused.

    ``records``: of an earlier run. ``takes_stored``: whether outputs may be in a store.
    """

    overwrite: bool
    resumes: bool
    records: Records
    takes_stored: bool = False


class Plan:
    """Looks at items in their order. Raises SinkError for what cannot be: two of one output, or an older file."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._taken: dict[str, str] = {}  # the outputs so far, by their real paths, and of which voice they are
        self._has_stdin = False
        self._avatars: set[str] = set()  # that are there
        self._models: set[str] = set()
        self._stored_sizes = StoredSizes()

    def is_done(self, item: BatchItem) -> bool:
        """Whether an item is whole already, and is left out. Raises SinkError when it cannot be made."""
        path = identify(item.output)
        name = f"{item.voice} ({item.origin})" if item.origin else item.voice
        if item.voice == STDIN and self._has_stdin:
            raise SinkError("standard input is named twice", hint="give each input once")
        self._has_stdin |= item.voice == STDIN
        if path in self._taken:
            hint = "rename one of them, or name the outputs in a manifest"
            raise SinkError(f"{self._taken[path]} and {name} would both become {item.output}", hint=hint)
        self._taken[path] = name
        if item.voice != STDIN and path == identify(item.voice):
            raise SinkError(f"{item.voice} would be its own output", hint="choose another folder with -o")
        if not is_stored(path):
            check_not_replaced(item.config, None, [item.output])
        elif not self._rules.takes_stored:
            raise SinkError(f"cannot write to {show_address(path)}", hint="with --ray, files may be in stores")
        suffix = Path(path).suffix.lower()
        if suffix not in FILE_SUFFIXES:
            hint = "name it .mp4, .mov, .mkv or .webm"
            raise SinkError(f"cannot write {item.output}: musetalk does not make {suffix or 'such'} files", hint=hint)
        if item.config.avatar not in self._avatars and not self._rules.takes_stored:  # a cluster's machines have theirs
            check_avatar(item.config)
            self._avatars.add(item.config.avatar)
        if item.config.model not in self._models and not self._rules.takes_stored:
            check_model(item.config)
            self._models.add(item.config.model)
        return self._is_whole(item, path)

    def _is_whole(self, item: BatchItem, path: str) -> bool:
        rules = self._rules
        num_bytes = self._stored_sizes.find(path) if is_stored(path) else _size_of(Path(path))
        if num_bytes is None:
            return False
        if rules.resumes and num_bytes != NO_FILE:
            # Files have their names only when they are whole; the report tells whether this one has changed since.
            record = rules.records.get(item.output)
            return record is None or (not record.get("error") and record.get("bytes") == num_bytes)
        if not rules.overwrite:
            hint = "--overwrite replaces what exists, --resume leaves what is whole"
            raise ExistsError(f"{item.output} exists already", hint=hint)
        return False


def _size_of(path: Path) -> int | None:
    """In bytes; NO_FILE of something else; None where there is nothing."""
    if path.is_file():
        return path.stat().st_size
    return NO_FILE if path.exists() else None


def plan_all(items: Sequence[BatchItem], rules: Rules) -> tuple[list[BatchItem], list[BatchItem]]:
    """Those to be made, and those that are whole.

    Raises MuseTalkError for the first that cannot be; its hint names the lines of a manifest with others.
    """
    plan, to_do, done = Plan(rules), list[BatchItem](), list[BatchItem]()
    wrong: list[tuple[BatchItem, MuseTalkError]] = []
    for item in items:
        try:
            (done if plan.is_done(item) else to_do).append(item)
        except MuseTalkError as error:
            wrong.append((item, error))
    wrong += _find_lost_voices(items, to_do)
    if wrong:
        raise _describe_wrong(wrong, rules)
    return to_do, done


def _find_lost_voices(
    items: Iterable[BatchItem], to_do: Iterable[BatchItem]
) -> Iterator[tuple[BatchItem, MuseTalkError]]:
    """Those of ``to_do`` that would replace the voice of another item."""
    voices = {identify(item.voice) for item in items}
    for item in to_do:
        path = identify(item.output)
        if path in voices and not is_stored(path) and _size_of(Path(path)) is not None:
            error = SinkError(f"{item.output} is a voice and would be replaced", hint="choose another name")
            yield item, error


def _describe_wrong(wrong: Sequence[tuple[BatchItem, MuseTalkError]], rules: Rules) -> MuseTalkError:
    (first, error), *others = wrong
    error = _find_first(first, error, rules)
    error.hint = "; ".join(filter(None, [error.hint, list_lines(item for item, _ in others)]))
    if first.origin and first.origin not in str(error):
        error.args = (f"{first.origin}: {error}",)
    return error


def plan_queue(items: Iterable[BatchItem], rules: Rules) -> Iterator[BatchItem]:
    """Those to be made, one by one as they come; one that cannot be is passed on with its problem."""
    plan = Plan(rules)
    for item in items:
        try:
            if item.problem or not plan.is_done(item):
                yield item
        except MuseTalkError as error:
            first = _find_first(item, error, rules)
            yield replace(item, problem=f"{first} ({first.hint})" if first.hint else str(first))


def _find_first(item: BatchItem, error: MuseTalkError, rules: Rules) -> MuseTalkError:
    """What to say of an item first: where its output exists, what is wrong with its voice, a file here."""
    if not isinstance(error, ExistsError) or rules.takes_stored:
        return error
    try:
        check_voice(item.config, item.voice)
    except MuseTalkError as first:
        return first
    return error


def remove_unfinished(items: Iterable[BatchItem]) -> None:
    """Remove what a killed run has left of these items. What it left in a store is replaced when they are made."""
    for item in items:
        if is_stored(item.output):
            continue
        for path in find_unfinished(Path(os.path.realpath(item.output))):
            path.unlink(missing_ok=True)
