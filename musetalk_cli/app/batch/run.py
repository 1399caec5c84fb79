"""A batch from its inputs to its exit code: items, plan, run, report and display."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from musetalk_cli.app.batch.inputs import STDIN, find_folder, list_items
from musetalk_cli.app.batch.item import BatchItem, ItemResult
from musetalk_cli.app.batch.manifest import read_manifest, read_queue
from musetalk_cli.app.batch.open_avatars import OpenAvatars
from musetalk_cli.app.batch.plan import Rules, plan_all, plan_queue, remove_unfinished
from musetalk_cli.app.batch.report_file import ReportFile, read_report
from musetalk_cli.app.batch.runner import BatchRun
from musetalk_cli.app.model_choice import count_cores
from musetalk_cli.app.running.interruption import RENDER, Interruption
from musetalk_cli.engine.types.addresses import show_address
from musetalk_cli.errors import MuseTalkError, SinkError
from musetalk_cli.ui.batch_view import BatchProgress, BatchView, FileResult, Tally
from musetalk_cli.ui.console import choose_tell, say

if TYPE_CHECKING:
    from musetalk_cli.configuration.schema import Config

TICK_S = 0.1
# While ffmpeg encodes one file, others are computed. More share the interpreter and gain nothing (measured).
MAX_DEFAULT_JOBS = 3


@dataclass(frozen=True)
class BatchRequest:
    """What the options ask for, settings aside. ``manifest`` takes the place of ``inputs``; ``num_jobs`` None: as many
    as are quick here."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    manifest: str | None = None
    num_jobs: int | None = None
    report: Path | None = None
    resumes: bool = False
    overwrite: bool = False
    is_quiet: bool = False


def render_batch(config: Config, request: BatchRequest) -> int:
    """Render all items. Returns the exit code: 0, 1 if any failed, or 128 + the signal that interrupted it.

    Raises MuseTalkError for what is wrong before work starts.
    """
    started_at = time.perf_counter()
    tell = choose_tell(is_quiet=request.is_quiet)
    folder = find_folder(request.outputs)
    records = read_report(request.report) if request.report and request.resumes else {}
    rules = Rules(request.overwrite, request.resumes, records)
    items: Iterable[BatchItem]
    skipped: list[BatchItem] = []
    if request.manifest == STDIN:
        items, num_total = plan_queue(read_queue(folder, config), rules), None
    else:
        given = read_manifest(request.manifest, folder, config) if request.manifest else None
        listed = given or list(list_items(request.inputs, folder, config, tell))
        to_do, skipped = plan_all(listed, rules)
        if request.resumes:
            remove_unfinished(to_do)
        items, num_total = to_do, len(to_do)
    with ExitStack() as cleanup:
        report = None
        if request.report:
            report = ReportFile(request.report, resumes=request.resumes, overwrite=request.overwrite)
            cleanup.callback(report.close)
        # One that has to be prepared shows its progress by itself, before the display of the batch begins.
        if num_total is not None:
            _prepare_avatars(to_do, request)
        batch = _Batch(items, num_total, len(skipped), request, report, started_at)
        return batch.run()


def _prepare_avatars(items: Sequence[BatchItem], request: BatchRequest) -> None:
    """Prepare each avatar that is not prepared yet; one that cannot be is told with its items."""
    from musetalk_cli.app.avatar_library import choose_avatar

    seen = set[tuple[str, float]]()
    for item in items:
        config = item.config
        if (key := (config.avatar, config.video.fps)) not in seen and Path(config.avatar).is_file():
            try:
                choose_avatar(config, choose_tell(is_quiet=request.is_quiet))
            except MuseTalkError:
                continue
        seen.add(key)


class _Batch:
    """One run with its display and results."""

    def __init__(
        self,
        items: Iterable[BatchItem],
        num_total: int | None,
        num_skipped: int,
        request: BatchRequest,
        report: ReportFile | None,
        started_at: float,
    ) -> None:
        self._num_total, self._num_skipped, self._started_at = num_total, num_skipped, started_at
        self._is_quiet = request.is_quiet
        self._report = report
        self._view = BatchView(is_quiet=request.is_quiet)
        self._tally = Tally()
        self._error: MuseTalkError | None = None
        self._avatars = OpenAvatars(self._view.tell)
        num_jobs = request.num_jobs or min(MAX_DEFAULT_JOBS, count_cores() + 1)
        self._run = BatchRun(
            items, num_jobs, self._avatars, self._view.tell, self._note, overwrite=request.overwrite or request.resumes
        )

    def run(self) -> int:
        interruption = Interruption(self._run, self._view, RENDER)
        try:
            with interruption.watching():
                self._run.start()
                while not (self._run.wait(TICK_S) or interruption.is_over):
                    interruption.obey()
                    if self._error:
                        self._run.cut()
                    self._view.show(self._progress())
        finally:
            self._view.close()
        self._avatars.close()
        if not self._is_quiet:
            for line in self._tally.describe(self._elapsed_s, self._num_total, self._num_skipped):
                say(line)
        if error := self._error or self._run.error:
            raise error
        return interruption.exit_code or int(self._tally.num_failed > 0)

    @property
    def _elapsed_s(self) -> float:
        return time.perf_counter() - self._started_at

    def _note(self, result: ItemResult) -> None:
        """Called by one thread at a time."""
        shown = _as_file(result)
        self._tally.add(shown)
        self._view.note(shown, self._num_total)
        if self._report:
            try:
                self._report.add(result)
            except SinkError as error:
                self._error = error

    def _progress(self) -> BatchProgress:
        running = [(show_address(item.voice), pipeline.snapshot()) for item, pipeline in self._run.running()]
        tally = self._tally
        return BatchProgress(running, tally.num_done, tally.num_failed, self._num_total, self._elapsed_s)


def _as_file(result: ItemResult) -> FileResult:
    error = f"{result.error} ({result.hint})" if result.hint else result.error
    item = result.item
    name = show_address(item.voice) or item.origin
    return FileResult(name, item.output, result.num_frames, result.media_s, result.elapsed_s, result.speed, error)
