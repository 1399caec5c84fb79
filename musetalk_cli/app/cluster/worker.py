"""A process of a cluster that renders items of a batch, with its avatars and models opened once."""

from __future__ import annotations

import os
import platform
import queue
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from musetalk_cli import __version__
from musetalk_cli.app.batch.item import BatchItem, ItemResult, failed
from musetalk_cli.app.batch.open_avatars import OpenAvatars
from musetalk_cli.app.batch.runner import BatchRun
from musetalk_cli.app.cluster.local_copies import LocalCopies
from musetalk_cli.option_names import naming_options

if TYPE_CHECKING:
    from musetalk_cli.engine.runtime.stats import Snapshot

# Calls that a worker answers beside those that render.
NUM_OTHER_CALLS = 4
END_S = 0.5  # for what runs to remove its files


@dataclass(frozen=True)
class WorkerInfo:
    """A worker's version of this program, its machine, and whether it finds the file that it was asked for."""

    version: str
    machine: str
    finds_file: bool


@dataclass(frozen=True)
class WorkerState:
    """The figures of what a worker renders, by output, and lines for the user since it was asked last."""

    running: Mapping[str, Snapshot] = field(default_factory=dict)
    notices: tuple[str, ...] = ()


class Worker:
    """Renders ``num_jobs`` items at once; one more is opened ahead. Ray calls the methods, each on a thread of its own.

    Everything that it takes and returns is small: files are read and written where they are.
    """

    def __init__(self, num_jobs: int, environment: Mapping[str, str]) -> None:
        os.environ.update(environment)
        self._naming = ExitStack()
        self._naming.enter_context(naming_options())  # what it tells is read beside the command that has the batch
        self._lock = threading.Lock()
        self._notices: list[str] = []
        self._copies = LocalCopies()
        self._items = queue.SimpleQueue[BatchItem | None]()
        self._wanted: dict[str, tuple[BatchItem, Future[ItemResult | None]]] = {}  # by the local output
        # Older files are replaced: the plan has refused those that must stay, and what a lost worker has left must not.
        self._run = BatchRun(
            iter(self._items.get, None), num_jobs, OpenAvatars(self._tell), self._tell, self._note, overwrite=True
        )
        self._run.start()

    def describe(self, file: str) -> WorkerInfo:
        """Answer as soon as calls are taken; ``file`` is one that the machine should find, or empty."""
        return WorkerInfo(__version__, platform.node(), not file or Path(file).is_file())

    def render(self, item: BatchItem) -> ItemResult | None:
        """Render an item to its end; None when it was cut."""
        started_at = time.perf_counter()
        with self._copies.of(item) as copies:
            try:
                local = copies.fetch()
                result = self._render(local, item)
                if result and not result.error:
                    copies.deliver(local)
            except Exception as error:
                return failed(item, error, time.perf_counter() - started_at)
        return result and _as_given(result, local, item)

    def _render(self, local: BatchItem, item: BatchItem) -> ItemResult | None:
        future = Future[ItemResult | None]()
        with self._lock:
            self._wanted[local.output] = (item, future)
        self._items.put(local)
        try:
            return future.result()
        finally:
            with self._lock:
                del self._wanted[local.output]

    def state(self) -> WorkerState:
        """What runs, for a display."""
        with self._lock:
            names = {output: item.output for output, (item, _) in self._wanted.items()}
            notices, self._notices = tuple(self._notices), []
        running = {names.get(item.output, item.output): snapshot for item, snapshot in self._run.running()}
        return WorkerState(running, notices)

    def end(self) -> None:
        """Begin nothing more, and remove what is not whole and all copies."""
        self._run.cut()
        self._items.put(None)
        self._run.wait(END_S)
        with self._lock:
            futures = [future for _, future in self._wanted.values()]
        for future in futures:
            if not future.done():
                future.set_result(None)
        self._copies.close()
        self._naming.close()

    def _note(self, result: ItemResult) -> None:
        with self._lock:
            wanted = self._wanted.get(result.item.output)
        if wanted and not wanted[1].done():
            wanted[1].set_result(result)

    def _tell(self, text: str) -> None:
        with self._lock:
            self._notices.append(text)


def _as_given(result: ItemResult, local: BatchItem, item: BatchItem) -> ItemResult:
    """The result of an item whose copies were rendered; its words name what was given."""
    error, hint = result.error, result.hint
    for copy, name in ((local.voice, item.voice), (local.output, item.output)):
        error, hint = error.replace(copy, name), hint.replace(copy, name)
    return replace(result, item=item, error=error, hint=hint)
