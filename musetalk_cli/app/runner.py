"""Drives one pipeline from one thread: display, statistics, and how it ended."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from musetalk_cli.app.running.interruption import CLOSE_S, RENDER, Interruption, Patience
from musetalk_cli.app.running.stats_file import StatsFile
from musetalk_cli.app.settings.tools import find_ffmpeg
from musetalk_cli.errors import MuseTalkError
from musetalk_cli.system import heap

if TYPE_CHECKING:
    from musetalk_cli.configuration.schema import Config
    from musetalk_cli.engine.audio.sources import AudioSource
    from musetalk_cli.engine.pipeline import Pipeline
    from musetalk_cli.engine.runtime.stats import Snapshot
    from musetalk_cli.engine.types.messages import Tell
    from musetalk_cli.ui.dashboard import Dashboard

TICK_S = 0.1

log = logging.getLogger(__name__)
Outcome = TypeVar("Outcome")


def render_file(
    config: Config,
    voice: str | AudioSource,
    outputs: Sequence[str],
    run: Callable[[Pipeline], Outcome],
    *,
    overwrite: bool,
    started_at: float,
    tell: Tell,
) -> tuple[Outcome, list[str]]:
    """Render one video of a voice, for the command and for Python programs alike.

    Args:
        config: all settings.
        voice: path or URL of the audio, - for stdin, or a source.
        outputs: the files, or - for stdout.
        run: drives the pipeline to its end: ``run_pipeline`` or ``run_to_end``.
        overwrite: whether an older file may be replaced.
        started_at: when the render began, by ``time.perf_counter()``.
        tell: takes lines for the user.

    Returns:
        What ``run`` returned, and where the video is; nowhere when nothing plays.

    Raises:
        MuseTalkError: the input, the avatar, the model or the output is wrong. Its hint says what plays nevertheless.
    """
    from musetalk_cli.app.assembly import build_file_pipeline
    from musetalk_cli.app.avatars.choice import is_transparent
    from musetalk_cli.app.input_check import check_not_replaced, input_first
    from musetalk_cli.engine.outputs.destinations import open_file_sink
    from musetalk_cli.engine.outputs.remuxed_file import Remuxer
    from musetalk_cli.engine.outputs.sink_group import list_places

    ffmpeg = find_ffmpeg(config, tell, is_local=True)
    remuxer = Remuxer(ffmpeg, config.video.frame_rate)
    input_ = voice if isinstance(voice, str) else None
    check_not_replaced(config, input_, outputs)
    has_alpha = is_transparent(config)
    with input_first(config, input_):
        sink = open_file_sink(outputs, overwrite=overwrite, remuxer=remuxer, input_=input_, has_alpha=has_alpha)
    pipeline = build_file_pipeline(config, voice, sink, started_at, tell)
    try:
        outcome = run(pipeline)
    except MuseTalkError as error:
        if files := [place for place in list_places(sink) if Path(place).is_file()]:
            error.hint = "; ".join(filter(None, [error.hint, f"what was made so far plays: {', '.join(files)}"]))
        raise
    finally:
        pipeline.close()
    return outcome, list_places(sink)


def run_pipeline(
    pipeline: Pipeline,
    dashboard: Dashboard,
    stats: StatsFile | None,
    patience: Patience = RENDER,
    on_tick: Callable[[], None] = lambda: None,
) -> tuple[Snapshot, int]:
    """Run to the end, or to that of the output where a signal interrupts it.

    Args:
        pipeline: ready to start; it is closed afterwards.
        dashboard: shows the figures; it is closed likewise.
        stats: takes the figures of every second.
        patience: how soon a signal ends the run.
        on_tick: called several times a second, on this thread.

    Returns:
        The last figures, and the exit code: 0, or 128 + the signal that interrupted it.

    Raises:
        MuseTalkError: the pipeline's first error, after everything has been released.
    """
    interruption = Interruption(pipeline, dashboard, patience)

    def tick() -> None:
        interruption.obey()
        on_tick()
        _show(pipeline.snapshot(), dashboard, stats)

    try:
        with interruption.watching():
            snapshot = run_to_end(pipeline, tick, lambda: interruption.is_over)
    finally:
        dashboard.close()
        if stats:
            stats.note(pipeline.snapshot(), is_last=True)
            stats.close()
    return snapshot, interruption.exit_code


def run_to_end(
    pipeline: Pipeline, on_tick: Callable[[], None], is_over: Callable[[], bool] = lambda: False
) -> Snapshot:
    """Start a pipeline and wait for its end.

    Args:
        pipeline: ready to start; it is closed afterwards.
        on_tick: called several times a second.
        is_over: asked as often, whether to wait no longer.

    Returns:
        The last figures.

    Raises:
        MuseTalkError: the pipeline's first error, or that of ``on_tick``, after everything has been released.
    """
    try:
        pipeline.start()
        heap.begin_collecting()
        while not (pipeline.wait(TICK_S) or is_over()):
            on_tick()
    finally:
        pipeline.close(CLOSE_S if is_over() else None)
    snapshot = pipeline.snapshot()
    if log.isEnabledFor(logging.INFO):
        log.info("figures: %s", json.dumps(snapshot.as_record()))
    if pipeline.error:
        raise pipeline.error
    return snapshot


def _show(snapshot: Snapshot, dashboard: Dashboard, stats: StatsFile | None) -> None:
    dashboard.show(snapshot)
    if stats:
        stats.note(snapshot)
