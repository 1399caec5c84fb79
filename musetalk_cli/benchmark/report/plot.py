"""The figures as an image: bars of milliseconds and of frames per second."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from musetalk_cli.benchmark.measurements.procedure import Result
from musetalk_cli.benchmark.measurements.stages import STAGES
from musetalk_cli.benchmark.report.summary import count
from musetalk_cli.benchmark.report.tables import short
from musetalk_cli.benchmark.workload.plan import BenchRequest
from musetalk_cli.engine.runtime.files import replace_file
from musetalk_cli.engine.types.colour import ByteArray
from musetalk_cli.errors import SinkError, system_words

# Drawn at twice the size and scaled down, which makes OpenCV's lines and letters smooth.
SCALE = 2
PANEL_PX, LABEL_PX, VALUE_PX, MARGIN_PX = 600, 110, 60, 28
HEAD_PX, TITLE_PX, BAR_PX, GAP_PX, LEGEND_PX = 84, 34, 18, 14, 34
BACKGROUND, INK, DIM, LINE = (255, 255, 255), (40, 40, 40), (120, 120, 120), (60, 60, 200)
COLOURS = ((176, 114, 76), (96, 170, 90), (70, 140, 230))
FONT = cv2.FONT_HERSHEY_SIMPLEX


@dataclass(frozen=True)
class Panel:
    """Groups of bars: ``groups`` has a label and one value for each of ``series``; ``line``: a value to reach."""

    title: str
    series: Sequence[str]
    groups: Sequence[tuple[str, Sequence[float]]]
    line: float | None = None

    @property
    def height_px(self) -> int:
        return TITLE_PX + LEGEND_PX + len(self.groups) * (len(self.series) * BAR_PX + GAP_PX)


def check_plot(path: Path, request: BenchRequest, *, overwrite: bool) -> None:
    """Raise SinkError, before anything is measured, when the image could not be written."""
    if path.suffix.lower() != ".png":
        raise SinkError(f"cannot draw {path}: only PNG files", hint="give a name that ends in .png")
    if path.exists() and not overwrite:
        raise SinkError(f"{path} exists already", hint="give another name with --plot, or --overwrite")
    if not path.parent.is_dir():
        raise SinkError(f"there is no folder {path.parent}", hint="create it first, or choose another")
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise SinkError(f"cannot write {path}", hint="choose another place with --plot")
    if request.has_comparison and not (request.sweep or request.num_sessions):
        raise SinkError("--compare alone gives nothing to draw", hint="leave --plot out")


def write_plot(path: Path, result: Result) -> None:
    """Draw what was measured into a PNG. Raises SinkError."""
    done, data = cv2.imencode(".png", draw(result))
    try:
        with replace_file(path) as staged:
            staged.write_bytes(data.tobytes() if done else b"")
    except OSError as error:
        raise SinkError(
            f"cannot write {path}: {system_words(error)}", hint="choose another place with --plot"
        ) from error


def draw(result: Result) -> ByteArray:
    """uint8 BGR (h, w, 3)."""
    panels = _panels(result)
    height = HEAD_PX + max(panel.height_px for panel in panels) + MARGIN_PX
    canvas = np.full((height * SCALE, PANEL_PX * len(panels) * SCALE, 3), BACKGROUND, np.uint8)
    info = result.machine_info
    _write(canvas, f"musetalk {info.musetalk} bench: {info.model}", MARGIN_PX, 34, 0.62, INK)
    machine = f"{info.gpu or info.cpu}, {count('core', info.num_cores)}, {info.encoder}, {info.date}"
    _write(canvas, machine, MARGIN_PX, 60, 0.42, DIM)
    for number, panel in enumerate(panels):
        _draw_panel(canvas, panel, number * PANEL_PX + MARGIN_PX)
    small = cv2.resize(canvas, (canvas.shape[1] // SCALE, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def _panels(result: Result) -> list[Panel]:
    panels = []
    if result.sizes:
        series = [f"{each.width} x {each.height}" for each in result.sizes]
        stages = [(name, [each.stages[name].p50_ms for each in result.sizes]) for name in STAGES]
        panels.append(Panel("each stage alone, ms a frame", series, stages))
        rates = [each.rates for each in result.sizes]
        both = [
            ("model loop", [each.model_fps.median for each in rates]),
            ("delivered", [each.delivered_fps.median for each in rates]),
        ]
        panels.append(Panel("frames per second", series, both, result.workload.fps))
    if result.sweep:
        rows = [
            (row.value.replace("×", "x"), [row.rates.model_fps.median, row.rates.delivered_fps.median])
            for row in result.sweep.rows
        ]
        title = f"frames per second by {result.sweep.name}"
        panels.append(Panel(title, ["model loop", "delivered"], rows, result.workload.fps))
    if result.sessions:
        sessions = result.sessions
        bars = [("all", [sessions.total_fps.median]), ("the slowest", [sessions.slowest_fps.median])]
        panels.append(Panel("frames per second", [f"{sessions.count} sessions"], bars, result.workload.fps))
    return panels


def _draw_panel(canvas: ByteArray, panel: Panel, left: int) -> None:
    top = HEAD_PX
    _write(canvas, panel.title, left, top + 14, 0.5, INK)
    start, room = left + LABEL_PX, PANEL_PX - 2 * MARGIN_PX - LABEL_PX - VALUE_PX
    largest = max(max(values) for _, values in panel.groups)
    largest = max(largest, panel.line or 0.0) or 1.0
    at = top + TITLE_PX
    for label, values in panel.groups:
        _write(canvas, label, left, at + len(values) * BAR_PX // 2 + 4, 0.42, INK)
        for number, value in enumerate(values):
            end = start + max(1, round(room * value / largest))
            _fill(canvas, start, at, end, at + BAR_PX - 3, COLOURS[number % len(COLOURS)])
            _write(canvas, short(value), end + 6, at + BAR_PX - 6, 0.38, DIM)
            at += BAR_PX
        at += GAP_PX
    if panel.line is not None:
        x = start + round(room * panel.line / largest)
        _fill(canvas, x, top + TITLE_PX - 6, x + 1, at - GAP_PX + 4, LINE)
        _write(canvas, f"{panel.line:g}", x + 4, at - GAP_PX + 8, 0.38, LINE)
    _draw_legend(canvas, panel.series, start, at + 14)


def _draw_legend(canvas: ByteArray, series: Sequence[str], left: int, top: int) -> None:
    for number, name in enumerate(series):
        _fill(canvas, left, top, left + 12, top + 12, COLOURS[number % len(COLOURS)])
        _write(canvas, name, left + 18, top + 11, 0.4, INK)
        left += 36 + 9 * len(name)


def _fill(canvas: ByteArray, left: int, top: int, right: int, bottom: int, colour: Sequence[int]) -> None:
    canvas[top * SCALE : bottom * SCALE, left * SCALE : right * SCALE] = colour


def _write(canvas: ByteArray, text: str, left: int, base: int, size: float, colour: Sequence[int]) -> None:
    plain = text.replace("–", "-").encode("ascii", "replace").decode()
    cv2.putText(canvas, plain, (left * SCALE, base * SCALE), FONT, size * SCALE, colour, SCALE, cv2.LINE_AA)
