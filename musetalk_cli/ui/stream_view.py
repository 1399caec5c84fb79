"""The display of a live stream: a dashboard on a terminal, a short line every few seconds elsewhere."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from musetalk_cli.engine.runtime.stats import LiveStats, Snapshot, TargetHealth
from musetalk_cli.engine.runtime.usage import Usage, UsageMeter
from musetalk_cli.ui.console import printable, say
from musetalk_cli.ui.dashboard import Dashboard, LiveDashboard, PlainDashboard, open_dashboard
from musetalk_cli.ui.figures import frames_text, size_text

if TYPE_CHECKING:
    from rich.console import RenderableType

BARS = "▁▂▃▄▅▆▇█"
HISTORY = 240  # values of the sparkline, two a second
HISTORY_EVERY = 5  # of the ten snapshots a second
STATE_STYLES = {"live": "green", "waiting": "yellow", "behind": "yellow", "retrying": "red", "gone": "red"}


class PlainStreamDashboard(PlainDashboard):
    """A short line every few seconds, from the first on."""

    def show(self, snapshot: Snapshot) -> None:
        if self._interval.is_due():
            say(describe_line(snapshot))


class LiveStreamDashboard(LiveDashboard):
    """A few lines that are redrawn several times a second."""

    def __init__(self, usage: UsageMeter) -> None:
        self._usage = usage
        self._latencies: deque[float] = deque(maxlen=HISTORY)
        self._num_snapshots = 0

    def show(self, snapshot: Snapshot) -> None:
        self._num_snapshots += 1
        if snapshot.live and snapshot.num_frames and self._num_snapshots % HISTORY_EVERY == 0:
            self._latencies.append(snapshot.live.latency.now_p50_s)
        self.draw(build_view(snapshot, self._usage.read(), self._latencies, self.width))


def open_stream_dashboard(*, is_quiet: bool, is_plain: bool = False) -> Dashboard:
    """Open the display of a live stream, as ``open_dashboard`` does."""
    return open_dashboard(
        is_quiet=is_quiet,
        is_plain=is_plain,
        plain=PlainStreamDashboard,
        live=lambda: LiveStreamDashboard(UsageMeter()),
    )


def describe_line(snapshot: Snapshot) -> str:
    """``12.0 s · 25.0 fps · latency 2.60 s · 3 held``, and every target that does not take what is made."""
    live = snapshot.live
    parts = [f"{snapshot.media_s:.1f} s", f"{_fps(snapshot):.1f} fps"]
    if live:
        parts.append(f"latency {live.latency.now_p50_s:.2f} s")
        parts += [_left_out(live)] if _num_left_out(live) else []
        troubled = [target for target in live.targets if target.state not in ("live", "ended")]
        parts += [f"{printable(target.name)} {_describe_target(target)}" for target in troubled]
    return " · ".join(parts)


def build_view(snapshot: Snapshot, usage: Usage, latencies: Sequence[float], width: int) -> RenderableType:
    """The whole dashboard for a terminal of ``width`` columns."""
    from rich.console import Group
    from rich.text import Text

    lines: list[RenderableType] = [_head(snapshot, usage, width)]
    if snapshot.live:
        lines.append(_latency_row(snapshot.live, latencies, width))
        lines.append(_state_row(snapshot.live, width))
        lines.append(_stage_table(snapshot, snapshot.live, width))
        lines += [_target_row(target) for target in snapshot.live.targets]
    else:
        lines.append(Text(f"{snapshot.speed:.1f}× real time", style="dim"))
    lines.append(Text("q stops · m mutes · c interrupts", style="dim"))
    return Group(*lines)


def sparkline(values: Sequence[float], width: int) -> str:
    """The last ``width`` values as bars, from 0 to the largest."""
    shown = list(values)[-width:]
    top = max(shown, default=0.0) or 1.0
    return "".join(BARS[min(len(BARS) - 1, int(value / top * len(BARS)))] for value in shown)


def _head(snapshot: Snapshot, usage: Usage, width: int) -> RenderableType:
    from rich.text import Text

    minutes, seconds = divmod(int(snapshot.media_s), 60)
    live = snapshot.live
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(
        "● muted " if live and live.is_muted else "● live ", style="yellow" if live and live.is_muted else "red"
    )
    text.append(f"{minutes}:{seconds:02d}", style="bold")
    text.append(f" · {_fps(snapshot):.1f} fps")
    if model := snapshot.stages.get("model"):
        text.append(f" · model {model.fps:.0f} fps")
    text.append(f" · CPU {usage.cpu_percent:.0f} % · RAM {usage.rss_mb:.0f} MB")
    if usage.gpu_mb is not None:
        text.append(f" · GPU {usage.gpu_mb:.0f} MB")
    first_s = snapshot.time_to_first_fragment_s
    for more in (
        f" · first frame after {first_s:.2f} s" if first_s is not None else "",
        f" · {snapshot.num_bytes / 1e6:.1f} MB made",
        f" · {usage.num_threads} threads · {usage.num_files} files",
    ):
        if width >= 120 and len(text.plain) + len(more) <= width:
            text.append(more)
    return text


def _latency_row(live: LiveStats, latencies: Sequence[float], width: int) -> RenderableType:
    from rich.text import Text

    latency = live.latency
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append("latency  ", style="dim")
    text.append(f"{latency.now_p50_s:.2f} s", style="bold")
    text.append(f" p95 {latency.now_p95_s:.2f}  run {latency.run_p50_s:.2f}/{latency.run_p95_s:.2f}  ")
    text.append(sparkline(latencies, max(8, width - len(text.plain) - 1)), style="cyan")
    return text


def _state_row(live: LiveStats, width: int) -> RenderableType:
    from rich.text import Text

    text = Text(no_wrap=True, overflow="ellipsis")
    text.append("stream   ", style="dim")
    text.append(f"buffer {live.buffer_s:.1f} s · ")
    text.append(f"lead {live.lead_s:+.1f} s · " if width >= 100 else "")
    text.append(_left_out(live), style="yellow" if _num_left_out(live) else "")
    text.append(f" · skew {round(live.skew_ms):+d} ms · silence {100 * live.silence_share:.0f} %")
    if live.num_overruns:
        text.append(f" · {live.num_overruns} overruns", style="yellow")
    if width >= 120 and live.num_filled_s:
        text.append(f" · {live.num_filled_s:.1f} s of silence inserted")
    return text


def _stage_table(snapshot: Snapshot, live: LiveStats, width: int) -> Any:
    """What each step adds to the latency, and how long it works; the bottleneck is marked in red."""
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for _ in range(1 + len(live.latency.steps)):
        table.add_column(justify="right", no_wrap=True)
    slowest = find_bottleneck(snapshot)
    names = [f"[bold red]{name}[/]" if name == slowest else name for name in live.latency.steps]
    table.add_row("[dim]step[/]", *names)
    table.add_row("[dim]ms p50[/]", *(f"{p50:.0f}" for p50, _ in live.latency.steps.values()))
    table.add_row("[dim]p95[/]", *(f"{p95:.0f}" for _, p95 in live.latency.steps.values()))
    timings = [snapshot.stages.get("decode" if name == "capture" else name) for name in live.latency.steps]
    if width >= 100 and live.latency.steps:
        table.add_row("[dim]work, ms/frame[/]", *(f"{timing.p50_ms:.1f}" if timing else "" for timing in timings))
    return table


def find_bottleneck(snapshot: Snapshot) -> str | None:
    """The stage that works longest per frame, when faces are left out for lack of time."""
    if snapshot.live is None or not _num_left_out(snapshot.live) or snapshot.live.lead_s > 0:
        return None
    working = {name: timing.p50_ms for name, timing in snapshot.stages.items() if name != "decode"}
    return max(working, key=lambda name: working[name], default=None)


def _target_row(target: TargetHealth) -> RenderableType:
    from rich.text import Text

    text = Text(no_wrap=True, overflow="ellipsis")
    text.append("target   ", style="dim")
    text.append(f"{target.state:<9}", style=STATE_STYLES.get(target.state, "dim"))
    text.append(f"{printable(target.name)}  {size_text(target.num_bytes)}")
    if target.num_dropped:
        text.append(f" · {frames_text(target.num_dropped)} dropped", style="yellow")
    if target.num_restarts:
        text.append(f" · restarted {target.num_restarts} ×", style="yellow")
    return text


def _describe_target(target: TargetHealth) -> str:
    dropped = f" ({target.num_dropped} dropped)" if target.num_dropped else ""
    return f"{target.state}{dropped}"


def _num_left_out(live: LiveStats) -> int:
    return live.counts.num_held + live.counts.num_idle + live.counts.num_skipped


def _left_out(live: LiveStats) -> str:
    counts = live.counts
    named = {"held": counts.num_held, "idle": counts.num_idle, "skipped": counts.num_skipped}
    return ", ".join(f"{number} {name}" for name, number in named.items() if number) or "0 held"


def _fps(snapshot: Snapshot) -> float:
    """Delivered frames per second: lately where there is a clock, else since the first one left."""
    if snapshot.live:
        return snapshot.live.delivered_fps
    since_s = snapshot.elapsed_s - (snapshot.time_to_first_byte_s or snapshot.elapsed_s)
    return snapshot.num_frames / since_s if since_s > 0.5 else 0.0
