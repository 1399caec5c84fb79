"""Shows the progress of a preparation on stderr: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from functools import cached_property
from typing import TYPE_CHECKING

from musetalk_cli.ui.console import Interval, OutputMode, drawing, note_line, output_mode, say

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from musetalk_cli.engine.avatar.preparation.settings import Progress

PLAIN_INTERVAL_S = 5.0
LABELS = {
    "hash": "reading the input",
    "frames": "following the face",
    "smooth": "smoothing",
    "preview": "preview",
    "dub": "dubbing",
}


class ProgressDisplay:
    """Call it with every Progress; ``tell`` gives a line that stays; ``close`` leaves the terminal as it was."""

    def __init__(self, *, is_quiet: bool) -> None:
        self._mode = output_mode(is_quiet=is_quiet)
        self._stage = ""
        self._task: TaskID | None = None
        self._started_at = time.perf_counter()
        self._interval = Interval(PLAIN_INTERVAL_S)

    def __call__(self, progress: Progress) -> None:
        if self._mode is OutputMode.QUIET:
            return
        if progress.stage != self._stage:
            self._stage = progress.stage
            self._started_at = time.perf_counter()
            self._interval.restart()
        if self._mode is OutputMode.TERMINAL:
            with drawing():
                self._draw(progress)
        elif self._interval.is_due():
            say(describe(progress, time.perf_counter() - self._started_at))

    def tell(self, text: str) -> None:
        """One line that stays."""
        if self._task is not None:
            with drawing():
                self._bar.console.print(note_line(text), markup=False, highlight=False)
        elif self._mode is not OutputMode.QUIET:
            say(text)

    def close(self) -> None:
        if self._task is not None:
            with drawing():
                self._bar.stop()
            self._task = None

    @cached_property
    def _bar(self) -> Bar:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        return Bar(*columns, console=Console(stderr=True), transient=True)

    def _draw(self, progress: Progress) -> None:
        label = LABELS[progress.stage]
        if self._task is None:
            self._bar.start()
            self._task = self._bar.add_task(label, total=progress.total or None)
        elif self._bar.tasks[0].description != label:
            self._bar.reset(self._task, description=label, total=progress.total or None)
        self._bar.update(self._task, completed=progress.done, total=progress.total or None)


def describe(progress: Progress, elapsed_s: float) -> str:
    """``following the face: 120 of 500 (24 %), 8 s left``"""
    label = LABELS[progress.stage]
    if not progress.total:
        return f"{label}: {progress.done}"
    text = f"{label}: {progress.done} of {progress.total} ({100 * progress.done / progress.total:.0f} %)"
    if progress.done and elapsed_s >= PLAIN_INTERVAL_S:  # before, the first frames, which are slow, decide
        text += f", {elapsed_s * (progress.total - progress.done) / progress.done:.0f} s left"
    return text
