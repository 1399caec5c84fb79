"""The figures as text that people paste: Markdown tables that also read well in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor

from musetalk_cli.benchmark.comparison.report import describe_comparison
from musetalk_cli.benchmark.measurements.machine_info import MachineInfo
from musetalk_cli.benchmark.measurements.peak_flops import FRAME_GFLOP
from musetalk_cli.benchmark.measurements.procedure import Result
from musetalk_cli.benchmark.measurements.stages import STAGES
from musetalk_cli.benchmark.report.summary import (
    count,
    describe_session_summary,
    describe_summary,
    name_bottleneck,
    name_size,
)
from musetalk_cli.benchmark.workload.figures import (
    BlockLatency,
    SessionFigures,
    SizeFigures,
    Spread,
    StageFigures,
    Sweep,
    SweepRow,
    Workload,
)
from musetalk_cli.benchmark.workload.plan import count_frames

TOO_SLOW = "too slow"


def describe(result: Result) -> str:
    """Everything that was measured, with a summary of it."""
    fps = result.workload.fps
    parts = [describe_machine_info(result.machine_info, result.workload)]
    if result.sizes:
        summary = describe_summary(result.sizes, fps, result.machine_info.num_cores)
        parts += [describe_sizes(result.sizes, fps), describe_whole(result), f"**{summary}**"]
    if result.sweep:
        parts.append(describe_sweep(result.sweep))
    if result.sessions:
        parts += [describe_sessions(result.sessions), f"**{describe_session_summary(result.sessions, fps)}**"]
    if result.comparison:
        parts.append(describe_comparison(result.comparison))
    return "\n\n".join(parts)


def describe_machine_info(machine: MachineInfo, workload: Workload) -> str:
    """The machine, the versions, and how much was measured."""
    peak = machine.peak_flops
    libraries = ", ".join(f"{name.removesuffix('-python-headless')} {v}" for name, v in machine.libraries.items())
    cores = count("core", machine.num_cores)
    gpu = f"{machine.gpu}, driver {machine.driver}" if machine.driver else machine.gpu or "none"
    rows = [
        ["CPU", f"{machine.cpu}, {cores}, {machine.memory_gb:.0f} GB of memory"],
        ["GPU", gpu],
        ["system", f"{machine.system}, Python {machine.python}"],
        ["libraries", libraries],
        ["encoder", f"{machine.encoder}, ffmpeg {machine.ffmpeg}"],
        ["model", machine.model + (f" on {peak.device}, {peak.precision}" if peak else "")],
        *zip(("workload", "", ""), describe_workload(workload), strict=False),
    ]
    if peak:
        speed = f"{short(peak.tflops)} TFLOP/s in matrix products"
        frames = f"{short(peak.fps)} frames/s of {FRAME_GFLOP:.0f} GFLOP, the full nets as published"
        rows.append(["arithmetic", f"{speed}: {frames}"])
    return table([[f"musetalk {machine.musetalk} bench", machine.date], *rows])


def describe_workload(workload: Workload) -> list[str]:
    """In rows: ``3 rounds of 4 s at 25 fps``, ``blocks of 2 s, batches of 8, 2 workers``, and what is to be known."""
    rounds = f"{count('round', workload.rounds)} of {workload.seconds:.3g} s at {workload.fps:g} fps"
    workers = count("worker", workload.num_workers)
    parts = f"blocks of {workload.block_s:g} s, batches of {workload.batch_size}, {workers}"
    return [rounds, parts, *([workload.note] if workload.note else [])]


def describe_length(workload: Workload) -> str:
    """``2 frames``"""
    return count("frame", count_frames(workload.seconds, workload.fps))


def describe_sizes(sizes: Sequence[SizeFigures], fps: float) -> str:
    """A column for each size: rates and latency as medians (least–most), stages as p50 / p95 (frames a second)."""
    rows = [
        ["medians (least–most)", *[name_size(each) for each in sizes]],
        ["model loop, frames/s", *[spread(each.rates.model_fps) for each in sizes]],
        ["delivered, frames/s", *[spread(each.rates.delivered_fps) for each in sizes]],
        ["× real time", *[short(each.capacity.speed) for each in sizes]],
        [f"streams of {fps:g} fps", *[str(each.capacity.num_streams) for each in sizes]],
        ["bottleneck", *[name_bottleneck(each) for each in sizes]],
        ["first frame when loaded, s", *[spread(each.rates.first_frame_s) for each in sizes]],
        ["a block's first frame, s", *[_first(each.latency) for each in sizes]],
        ["a block's last frame, s", *[_last(each.latency) for each in sizes]],
        *[[f"{name} alone, ms/frame", *[_stage(each.stages[name]) for each in sizes]] for name in STAGES],
    ]
    return table(rows)


def describe_whole(result: Result) -> str:
    """Start and memory."""
    parts = []
    if result.start:
        memory = f" and takes {result.start.rss_mb:.0f} MB beside ffmpeg" if result.start.rss_mb else ""
        first = spread(result.start.first_frame_s)
        few = f" of {describe_length(result.workload)}" if result.workload.note else ""
        parts.append(f"A fresh `musetalk stream`{few} has its first frame after {first} s{memory}.")
    elif result.sizes:
        parts.append("A fresh `musetalk stream` was not measured: loading and two faces take too long here.")
    if result.gpu_mb is not None:
        parts.append(f"GPU memory: {result.gpu_mb:.0f} MB at most.")
    return " ".join(parts)


def describe_sweep(sweep: Sweep) -> str:
    """A row for each value."""
    at = "" if sweep.name == "size" else f", {sweep.width} × {sweep.height}"
    head = [f"{sweep.name}{at}", "model loop, frames/s", "delivered, frames/s", "a block's first frame, s", "last, s"]
    return table([head, *[_sweep_row(row) for row in sweep.rows]])


def describe_sessions(sessions: SessionFigures) -> str:
    """The one row of several streams."""
    head = [f"sessions at once, {name_size(sessions)}", "all together, frames/s", "the slowest, frames/s"]
    return table([head, [str(sessions.count), spread(sessions.total_fps), spread(sessions.slowest_fps)]])


def table(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns; the first row is its head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    cells = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def spread(figure: Spread) -> str:
    """``93.1 (90.4–97.0)``: the median, and the least and the most; of one round, the figure alone."""
    if figure.least == figure.most:
        return short(figure.median)
    return f"{short(figure.median)} ({short(figure.least)}–{short(figure.most)})"


def short(value: float) -> str:
    """Three digits and no exponent: ``1234``, ``93.1``, ``0.0312``."""
    return f"{floor(value + 0.5)}" if value >= 100 else f"{value:#.3g}".rstrip(".") if value else "0"


def _sweep_row(row: SweepRow) -> list[str]:
    rates = [spread(row.rates.model_fps), spread(row.rates.delivered_fps)]
    return [row.value, *rates, _first(row.latency), _last(row.latency)]


def _first(latency: BlockLatency | None) -> str:
    return spread(latency.first_s) if latency else TOO_SLOW


def _last(latency: BlockLatency | None) -> str:
    return spread(latency.last_s) if latency else TOO_SLOW


def _stage(figures: StageFigures) -> str:
    return f"{short(figures.p50_ms)} / {short(figures.p95_ms)} ({short(figures.fps)}/s)"
