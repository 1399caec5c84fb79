"""Downloads of large files, on stderr: the question about their licences, and the progress."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import typer

from musetalk_cli.errors import ModelError
from musetalk_cli.ui.console import Interval, OutputMode, drawing, note_line, output_mode, printable, say

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from musetalk_cli.engine.weights.registry import WeightFile
    from musetalk_cli.engine.weights.store import WeightStore
    from musetalk_cli.engine.weights.verification import CheckResult

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
            with drawing():
                self._progress.stop()

    def say(self, text: str) -> None:
        """A line that stays."""
        if self._progress is not None:
            with drawing():
                self._progress.console.print(note_line(text), highlight=False, soft_wrap=True, markup=False)
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


def agree_to_licences(files: Sequence[WeightFile], what: str, *, is_agreed: bool, is_quiet: bool) -> None:
    """Show the licences, unless they are agreed to and silence is asked for; go on only if the user agrees.

    Raises ModelError where there is no terminal to ask on.
    """
    from musetalk_cli.engine.weights.inventory import list_licences

    for line in ("These files are others' work, under their licences:", *list_licences(files), what):
        if not (is_agreed and is_quiet):
            say(line)
    if not is_agreed and not typer.get_text_stream("stdin").isatty():
        raise ModelError("the licences must be accepted, and there is no terminal to ask on", hint="--yes accepts them")
    if not is_agreed:
        typer.confirm("Go on?", err=True, abort=True)


def list_weights(described: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The lines of a table of what ``inventory.describe_all`` returns."""
    from musetalk_cli.engine.weights.download import size_text

    for one in described:
        rest = f", {size_text(one['download_bytes'])} to download" if one["download_bytes"] else ""
        yield f"{one['name']:<14}{one['state']:<10}{size_text(one['num_bytes'])}{rest}   {one['title']}"
        for part in one["parts"]:
            yield printable(f"  {part['title']:<14}{part['state']:<10}{part['path'] or part['wanted']}")


def report_results(results: Sequence[CheckResult], store: WeightStore, *, is_quiet: bool) -> None:
    """A line for each file on stdout; raise ModelError for the first that no model can use."""
    for result in results if not is_quiet else ():
        typer.echo(printable(f"{result.part.title:<13}{result.status:<11}{result.path or ''}"))
        typer.echo(printable(f"{'':<13}{result.note}"))
    for bad in (result for result in results if not result.is_good):
        raise ModelError(bad.note, hint=store.next_step(bad.note, bad.hint))
