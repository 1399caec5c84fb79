"""A batch from its inputs to its exit code: items, plan, run, report and display."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from musetalk_cli.app.batch.inputs import find_folder, leave_out_made, list_items
from musetalk_cli.app.batch.item import BatchItem, ItemResult
from musetalk_cli.app.batch.manifest import read_manifest, read_queue
from musetalk_cli.app.batch.names import STDIN
from musetalk_cli.app.batch.open_avatars import OpenAvatars
from musetalk_cli.app.batch.plan import Rules, plan_all, plan_queue, remove_unfinished
from musetalk_cli.app.batch.report_file import ReportFile, read_report
from musetalk_cli.app.batch.runner import BatchRun, default_jobs
from musetalk_cli.app.model_choice import count_cores
from musetalk_cli.app.running.interruption import RENDER, Interruptible, Interruption
from musetalk_cli.engine.types.addresses import show_address
from musetalk_cli.errors import MuseTalkError, SinkError
from musetalk_cli.ui.batch_view import BatchProgress, BatchView, FileResult, Tally
from musetalk_cli.ui.console import choose_tell, say

if TYPE_CHECKING:
    from musetalk_cli.configuration.schema import Config
    from musetalk_cli.engine.runtime.stats import Snapshot
    from musetalk_cli.engine.types.messages import Tell

TICK_S = 0.1


class Run(Interruptible, Protocol):
    """Renders items somewhere. ``error`` is what ended it early."""

    error: BaseException | None

    def start(self) -> None:
        """Begin, on threads of its own."""

    def wait(self, timeout_s: float) -> bool:
        """True once nothing runs any more."""

    def running(self) -> list[tuple[BatchItem, Snapshot]]:
        """What is rendered now."""

    def close(self) -> None:
        """Release what it holds, once nothing runs."""


# From the items, the folder of their videos, and what takes lines and results, each result on one thread at a time.
OpenRun = Callable[[Iterable[BatchItem], str, "Tell", Callable[[ItemResult], None]], Run]


@dataclass(frozen=True)
class BatchRequest:
    """What the options ask for, settings aside. ``manifest`` takes the place of ``inputs``; ``num_jobs`` None: as many
    as are quick here. ``is_elsewhere``: other machines render; ``takes_stored``: files may be in a store."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    manifest: str | None = None
    num_jobs: int | None = None
    report: Path | None = None
    resumes: bool = False
    overwrite: bool = False
    is_quiet: bool = False
    is_elsewhere: bool = False
    takes_stored: bool = False


@dataclass(frozen=True)
class _Work:
    """``items`` to be made, ``num_total`` None where nobody knows, and how many were whole before."""

    items: Iterable[BatchItem]
    num_total: int | None = None
    num_skipped: int = 0


def render_batch(config: Config, request: BatchRequest, open_run: OpenRun | None = None) -> int:
    """Render all items. Returns the exit code: 0, 1 if any failed, or 128 + the signal that interrupted it.

    ``open_run``: who renders; None: this process. Raises MuseTalkError for what is wrong before work starts.
    """
    started_at = time.perf_counter()
    folder = find_folder(request.outputs, takes_stored=request.takes_stored)
    work = _plan(config, request, folder)
    with ExitStack() as cleanup:
        report = None
        if request.report:
            report = ReportFile(request.report, resumes=request.resumes, overwrite=request.overwrite)
            cleanup.callback(report.close)
        if open_run is None or work.num_total == 0:  # no cluster is needed to make nothing
            open_run = _render_here(request)
        return _Batch(work, request, report, started_at).run(folder, open_run)


def _plan(config: Config, request: BatchRequest, folder: str) -> _Work:
    tell = choose_tell(is_quiet=request.is_quiet)
    records = read_report(request.report) if request.report and request.resumes else {}
    rules = Rules(request.overwrite, request.resumes, records, request.takes_stored)
    if request.manifest == STDIN:
        return _Work(plan_queue(read_queue(folder, config), rules))
    given = read_manifest(request.manifest, folder, config) if request.manifest else None
    listed = list_items(request.inputs, folder, config, tell, takes_stored=request.takes_stored)
    to_do, skipped = plan_all(given or leave_out_made(list(listed), resumes=request.resumes), rules)
    if request.resumes:
        remove_unfinished(to_do)
    return _Work(to_do, len(to_do), len(skipped))


def _render_here(request: BatchRequest) -> OpenRun:
    def open_run(items: Iterable[BatchItem], folder: str, tell: Tell, on_done: Callable[[ItemResult], None]) -> Run:
        num_jobs = request.num_jobs or default_jobs(count_cores())
        overwrite = request.overwrite or request.resumes
        return BatchRun(items, num_jobs, OpenAvatars(tell), tell, on_done, overwrite=overwrite)

    return open_run


def _prepare_avatars(items: Iterable[BatchItem], request: BatchRequest) -> None:
    """Prepare each avatar that is not prepared yet; one that cannot be is told with its items."""
    from musetalk_cli.app.avatars.choice import choose_avatar

    seen = set[tuple[str, float]]()
    for item in items:
        config = item.config
        if (key := (config.avatar, config.video.fps)) not in seen and Path(config.avatar).is_file():
            with contextlib.suppress(MuseTalkError):
                choose_avatar(config, choose_tell(is_quiet=request.is_quiet))
        seen.add(key)


class _Batch:
    """One run with its display and results."""

    def __init__(self, work: _Work, request: BatchRequest, report: ReportFile | None, started_at: float) -> None:
        self._work, self._request, self._report, self._started_at = work, request, report, started_at
        self._tally = Tally()
        self._error: MuseTalkError | None = None
        # One that has to be prepared shows its progress by itself, before the display of the batch begins.
        if work.num_total is not None and not request.is_elsewhere:
            _prepare_avatars(work.items, request)
        self._view = BatchView(is_quiet=request.is_quiet)

    def run(self, folder: str, open_run: OpenRun) -> int:
        run = open_run(self._work.items, folder, self._view.tell, self._note)
        interruption = Interruption(run, self._view, RENDER)
        try:
            with interruption.watching():
                run.start()
                while not (run.wait(TICK_S) or interruption.is_over):
                    interruption.obey()
                    if self._error:
                        run.cut()
                    self._view.show(self._progress(run))
        finally:
            self._view.close()
            run.close()
        if not self._request.is_quiet:
            for line in self._tally.describe(self._elapsed_s, self._work.num_total, self._work.num_skipped):
                say(line)
        if error := self._error or run.error:
            raise error
        return interruption.exit_code or int(self._tally.num_failed > 0)

    @property
    def _elapsed_s(self) -> float:
        return time.perf_counter() - self._started_at

    def _note(self, result: ItemResult) -> None:
        """Called by one thread at a time."""
        shown = _as_file(result)
        self._tally.add(shown)
        self._view.note(shown, self._work.num_total)
        if self._report:
            try:
                self._report.add(result)
            except SinkError as error:
                self._error = error

    def _progress(self, run: Run) -> BatchProgress:
        running = [(show_address(item.voice), snapshot) for item, snapshot in run.running()]
        tally = self._tally
        return BatchProgress(running, tally.num_done, tally.num_failed, self._work.num_total, self._elapsed_s)


def _as_file(result: ItemResult) -> FileResult:
    error = f"{result.error} ({result.hint})" if result.hint else result.error
    item = result.item
    name = show_address(item.voice) or item.origin
    return FileResult(name, item.output, result.num_frames, result.media_s, result.elapsed_s, result.speed, error)
