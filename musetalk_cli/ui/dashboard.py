"""Draws a run's Snapshot on stderr: a progress bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from musetalk_cli.engine.runtime.stats import Snapshot
from musetalk_cli.ui.console import Interval, OutputMode, drawing, note_line, output_mode, say

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

PLAIN_INTERVAL_S = 5.0
LEAST_WIDTH = 100  # columns of a terminal that has room for more than speed and time left
# Since the first frames: before, what is left cannot be told from what was made, since all queues begin empty.
ESTIMATE_AFTER_S = 2.0


class Dashboard(Protocol):
    """Shows snapshots; reads, never writes."""

    def show(self, snapshot: Snapshot) -> None:
        """Called several times a second while the run goes on."""

    def tell(self, text: str) -> None:
        """One line that stays."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class QuietDashboard:
    """Nothing."""

    def show(self, snapshot: Snapshot) -> None:
        pass

    def tell(self, text: str) -> None:
        pass

    def close(self) -> None:
        pass


class PlainDashboard:
    """A short line every few seconds."""

    def __init__(self) -> None:
        self._interval = Interval(PLAIN_INTERVAL_S)
        self._time_left = TimeLeft()

    def show(self, snapshot: Snapshot) -> None:
        left_s = self._time_left.estimate(snapshot)
        if snapshot.num_frames and self._interval.is_due():
            say(describe_progress(snapshot, left_s))

    def tell(self, text: str) -> None:
        say(text)

    def close(self) -> None:
        pass


class LiveDashboard:
    """A bar with speed and time left; in a wide terminal, the stages' milliseconds per frame below it."""

    _num_columns = 0  # of the terminal, when it was drawn last
    _lengths: Sequence[int] = ()  # of the lines that are on the terminal, in columns

    def __init__(self) -> None:
        self._time_left = TimeLeft()

    @cached_property
    def _live(self) -> Live:
        """Started when there is something to show: rich is loaded while the first frames are made."""
        from rich.console import Console
        from rich.live import Live

        live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)
        with drawing():
            live.start()
        return live

    def show(self, snapshot: Snapshot) -> None:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        progress = describe_progress(snapshot, self._time_left.estimate(snapshot))
        row = Table.grid(padding=(0, 1), expand=True)
        row.add_column(ratio=1)
        row.add_column(no_wrap=True)
        row.add_row(ProgressBar(total=snapshot.total_s, completed=snapshot.media_s), progress)
        stages = describe_stages(snapshot)
        fits = LEAST_WIDTH <= self.width >= len(stages)
        self.draw(Group(row, Text(stages, style="dim")) if fits else row)

    @property
    def width(self) -> int:
        """Columns of the terminal."""
        return self._live.console.width

    def draw(self, view: RenderableType) -> None:
        """Show this in place of what was shown before."""
        with drawing():
            self._draw(view)

    def _draw(self, view: RenderableType) -> None:
        self._clear_wrapped_rows()
        console = self._live.console
        self._num_columns = console.width  # before: it may change at any time
        lines = console.render_lines(view, pad=False)
        self._lengths = [sum(part.cell_length for part in line) for line in lines]
        self._live.update(view, refresh=True)

    def _clear_wrapped_rows(self) -> None:
        """Clear what is new below: a terminal that has become narrower has wrapped the lines that are longer now, and
        rich would go up by the lines that it wrote."""
        num_columns = self._live.console.width
        if num_columns < self._num_columns:
            num_rows = sum((length - 1) // num_columns for length in self._lengths if length)
            self._live.console.file.write("\r\x1b[2K\x1b[A" * num_rows)
            self._num_columns, self._lengths = num_columns, ()

    def tell(self, text: str) -> None:
        with drawing():
            self._clear_wrapped_rows()
            self._live.console.print(note_line(text), markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        with drawing():
            self._live.stop()


def open_dashboard(
    *,
    is_quiet: bool,
    is_plain: bool = False,
    plain: Callable[[], Dashboard] = PlainDashboard,
    live: Callable[[], Dashboard] = LiveDashboard,
) -> Dashboard:
    """Open the display for where stderr goes: ``live`` on a terminal, ``plain`` elsewhere and with ``is_plain``."""
    openers = {OutputMode.QUIET: QuietDashboard, OutputMode.PLAIN: plain, OutputMode.TERMINAL: live}
    mode = output_mode(is_quiet=is_quiet)
    return openers[OutputMode.PLAIN if is_plain and mode is OutputMode.TERMINAL else mode]()


def describe_progress(snapshot: Snapshot, left_s: float | None) -> str:
    """``12.0 of 60.0 s · 5.1× · 9 s left``"""
    total_s, media_s = snapshot.total_s, snapshot.media_s
    # The last frame lasts longer than the audio, and a container may round the length that it tells.
    done = f"{min(media_s, total_s):.1f} of {total_s:.1f} s" if total_s else f"{media_s:.1f} s"
    parts = [done, f"{snapshot.speed:.1f}×"]
    return " · ".join(parts if left_s is None else [*parts, f"{left_s:.0f} s left"])


class TimeLeft:
    """Seconds until the end of a run, at the pace from its first frames to its latest ones."""

    def __init__(self) -> None:
        self._first: tuple[float, float] | None = None  # seconds since the start, and media seconds then
        self._last = (0.0, 0.0)

    def estimate(self, snapshot: Snapshot) -> float | None:
        """None while nothing can be told. Between two deliveries it counts down: frames come in batches, and a batch
        that is being made says nothing about the pace."""
        if not snapshot.total_s or not snapshot.media_s:
            return None
        now = (snapshot.elapsed_s, snapshot.media_s)
        self._first = self._first or now
        if snapshot.media_s != self._last[1]:
            self._last = now
        passed_s, made_s = (last - first for first, last in zip(self._first, self._last, strict=True))
        if passed_s < ESTIMATE_AFTER_S or made_s <= 0:
            return None
        needed_s = max(0.0, snapshot.total_s - snapshot.media_s) * passed_s / made_s
        return max(0.0, needed_s - (snapshot.elapsed_s - self._last[0]))


def describe_model(snapshot: Snapshot) -> str:
    """``, musetalk-1.5 (12 frames silent)``; empty for warp, the default."""
    silent = f" ({snapshot.num_silent} frames silent)" if snapshot.num_silent else ""
    return "" if snapshot.model == "warp" else f", {snapshot.model}{silent}"


def describe_stages(snapshot: Snapshot) -> str:
    """``ms/frame, p50 (p95): features 0.2 (0.3) …``"""
    timings = [f"{name} {timing.p50_ms:.1f} ({timing.p95_ms:.1f})" for name, timing in snapshot.stages.items()]
    return "ms/frame, p50 (p95): " + " · ".join(timings)
