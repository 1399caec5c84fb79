"""Shows the progress of downloading, checking or converting large files on stderr."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from musetalk_cli.ui.console import Interval, OutputMode, output_mode, say

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

# Between two plain lines: often enough to see that it goes on, seldom enough for a log.
PLAIN_INTERVAL_S = 10.0


class TransferDisplay:
    """``display(what, bytes done, bytes in all)``, often: bars on a terminal, elsewhere a line now and then."""

    def __init__(self, *, is_quiet: bool) -> None:
        self._mode = output_mode(is_quiet=is_quiet)
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._interval = Interval(PLAIN_INTERVAL_S)

    def __enter__(self) -> TransferDisplay:
        if self._mode is OutputMode.TERMINAL:
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

            columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(compact=True))
            self._progress = Progress("{task.description}", *columns, console=Console(stderr=True))
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def say(self, text: str) -> None:
        """A line that stays."""
        if self._progress is not None:
            self._progress.console.print(text, highlight=False, soft_wrap=True, markup=False)
        elif self._mode is not OutputMode.QUIET:
            say(text)

    def __call__(self, what: str, done: int, total: int) -> None:
        if self._progress is not None:
            if what not in self._tasks:
                # Begins where an earlier attempt ended, so that the speed is this attempt's.
                self._tasks[what] = self._progress.add_task(what, total=total, completed=done)
            self._progress.update(self._tasks[what], completed=done)
        elif self._mode is OutputMode.PLAIN and self._interval.is_due():
            say(f"{what}: {done / 1e6:.0f} of {total / 1e6:.0f} MB")
