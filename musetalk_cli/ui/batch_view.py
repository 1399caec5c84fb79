"""Shows a batch on stderr: a live table on a terminal, plain lines elsewhere, and a table of results at the end."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from musetalk_cli.engine.runtime.stats import Snapshot
from musetalk_cli.ui.console import OutputMode, output_mode, printable, say
from musetalk_cli.ui.dashboard import LiveDashboard, QuietDashboard, TimeLeft, describe_progress
from musetalk_cli.ui.figures import frames_text

if TYPE_CHECKING:
    from rich.console import RenderableType

MAX_ROWS = 40  # of the table at the end; beyond, only what failed is shown
MAX_NAME = 44  # characters of a file's name in a table


@dataclass(frozen=True)
class FileResult:
    """How a file of the batch ended; ``error`` is empty where it is whole."""

    name: str
    output: str
    num_frames: int
    media_s: float
    elapsed_s: float
    speed: float
    error: str = ""


@dataclass(frozen=True)
class BatchProgress:
    """``running``: names and figures of the files that are rendered now. ``num_total`` None: nobody knows."""

    running: Sequence[tuple[str, Snapshot]]
    num_done: int
    num_failed: int
    num_total: int | None
    elapsed_s: float


class BatchView:
    """``show`` from one thread; ``note`` and ``tell`` from any. ``close`` leaves the terminal as it was."""

    def __init__(self, *, is_quiet: bool) -> None:
        self._mode = output_mode(is_quiet=is_quiet)
        self._live = LiveDashboard() if self._mode is OutputMode.TERMINAL else QuietDashboard()
        self._lock = threading.Lock()
        self._num_noted = 0
        self._time_left: dict[str, TimeLeft] = {}  # by the name of a running file

    def show(self, progress: BatchProgress) -> None:
        if isinstance(self._live, LiveDashboard):
            running = dict(progress.running)
            self._time_left = {name: self._time_left.get(name) or TimeLeft() for name in running}
            left_s = {name: self._time_left[name].estimate(snapshot) for name, snapshot in running.items()}
            with self._lock:
                self._live.draw(draw_progress(progress, left_s))

    def note(self, result: FileResult, num_total: int | None) -> None:
        """A line for a file that came to an end; on a terminal only for one that failed."""
        self._num_noted += 1
        if result.error or self._mode is OutputMode.PLAIN:
            count = f"{self._num_noted}/{num_total}" if num_total else str(self._num_noted)
            self._say(f"[{count}] {describe_file(result)}", is_error=bool(result.error))

    def tell(self, text: str) -> None:
        """One line that stays."""
        self._say(text)

    def _say(self, text: str, *, is_error: bool = False) -> None:
        if self._mode is OutputMode.QUIET and not is_error:
            return
        with self._lock:
            if self._mode is OutputMode.TERMINAL:
                self._live.tell(text)
            else:
                say(text)

    def close(self) -> None:
        with self._lock:
            self._live.close()


def draw_progress(progress: BatchProgress, left_s: Mapping[str, float | None]) -> RenderableType:
    """A rich table: a bar for the batch, and a line for each file that is rendered; ``left_s``: seconds, by name."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    head = Table.grid(padding=(0, 1), expand=True)
    head.add_column(ratio=1)
    head.add_column(no_wrap=True)
    done = progress.num_done + progress.num_failed
    head.add_row(ProgressBar(total=progress.num_total or None, completed=done), describe_batch(progress))
    rows = Table.grid(padding=(0, 2))
    for name, snapshot in progress.running:
        progress_text = describe_progress(snapshot, left_s.get(name))
        rows.add_row(Text(shorten_name(printable(name))), Text(progress_text, style="dim"))
    return Group(head, rows)


def describe_batch(progress: BatchProgress) -> str:
    """``12 of 100 files · 1 failed · 84 s left``"""
    done = progress.num_done + progress.num_failed
    parts = [f"{done} of {progress.num_total} files" if progress.num_total else f"{done} files"]
    if progress.num_failed:
        parts.append(f"{progress.num_failed} failed")
    if progress.num_total and done >= 3:
        parts.append(f"{(progress.num_total - done) * progress.elapsed_s / done:.0f} s left")
    return " · ".join(parts)


def describe_file(result: FileResult) -> str:
    """``a.wav: 125 frames, 5.0 s in 0.9 s (5.6× real time) → out/a.mp4``"""
    if result.error:
        return f"{result.name}: error: {result.error}"
    pace = f"{result.media_s:.1f} s in {result.elapsed_s:.1f} s ({result.speed:.1f}× real time)"
    return f"{result.name}: {frames_text(result.num_frames)}, {pace} → {result.output}"


class Tally:
    """The results of a batch of any length: sums, and the files that the table at the end shows."""

    def __init__(self) -> None:
        self.num_done = self.num_failed = 0
        self._num_frames, self._media_s = 0, 0.0
        self._first: list[FileResult] = []
        self._failed: list[FileResult] = []

    def add(self, result: FileResult) -> None:
        """Count a file that came to its end."""
        if len(self._first) < MAX_ROWS:
            self._first.append(result)
        if result.error:
            self.num_failed += 1
            if len(self._failed) < MAX_ROWS:
                self._failed.append(result)
        else:
            self.num_done += 1
            self._num_frames += result.num_frames
            self._media_s += result.media_s

    def describe(self, elapsed_s: float, num_total: int | None, num_skipped: int) -> list[str]:
        """The table, line by line, with a sum below. Of very many files, only those that failed are in it.

        ``num_total``: how many there should have been, None where nobody knows; ``num_skipped`` were whole before.
        """
        num_files = self.num_done + self.num_failed
        if not num_total and num_skipped:
            return [f"nothing to do: {num_skipped} files were whole already"]
        lines = draw_table(self._first if num_files <= MAX_ROWS else self._failed)
        pace = f"{self._media_s:.1f} s in {elapsed_s:.1f} s ({self._media_s / max(elapsed_s, 1e-9):.1f}× real time)"
        parts = [f"{self.num_done} of {num_total or num_files} files", frames_text(self._num_frames), pace]
        if self.num_failed:
            parts.append(f"{self.num_failed} failed")
        if num_skipped:
            parts.append(f"{num_skipped} were whole already")
        return [*lines, ", ".join(parts)]


def draw_table(results: Sequence[FileResult]) -> list[str]:
    """A line for each file below a line of titles; figures end below each other."""
    if not results:
        return []
    rows = [("file", "frames", "seconds", "speed", "result")]
    for each in results:
        figures = ("", "", "") if each.error else (f"{each.num_frames}", f"{each.media_s:.1f}", f"{each.speed:.1f}×")
        rows.append((shorten_name(each.name), *figures, f"error: {each.error}" if each.error else each.output))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return [
        "  ".join([row[0].ljust(widths[0]), *(row[at].rjust(widths[at]) for at in (1, 2, 3)), row[4]]) for row in rows
    ]


def shorten_name(name: str) -> str:
    """A path as a table has room for it: its end."""
    return name if len(name) <= MAX_NAME else f"…{name[-MAX_NAME + 1 :]}"
