"""Drives a live stream from the main thread: its display, its keys, and its summary."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from musetalk_cli import ending
from musetalk_cli.app.control import Control, interrupt
from musetalk_cli.app.runner import run_pipeline
from musetalk_cli.app.running.interruption import STREAM
from musetalk_cli.app.running.slow_machine import SlowMachine
from musetalk_cli.app.running.stats_file import StatsFile, check_stdout, is_on_terminal, open_stats
from musetalk_cli.engine.pipeline import Pipeline
from musetalk_cli.engine.runtime.stats import Snapshot, TargetHealth
from musetalk_cli.errors import MuseTalkError, SessionError, SourceError
from musetalk_cli.ui.console import choose_tell, own_stderr, say
from musetalk_cli.ui.dashboard import Dashboard, describe_model
from musetalk_cli.ui.figures import frames_text, size_text
from musetalk_cli.ui.keys import Keys
from musetalk_cli.ui.notices import Notices
from musetalk_cli.ui.stream_view import open_stream_dashboard

if TYPE_CHECKING:
    from musetalk_cli.app.live_assembly import LiveInput
    from musetalk_cli.configuration.schema import Config
    from musetalk_cli.engine.outputs.fan_out import FanOut


@dataclass(frozen=True)
class StreamOptions:
    """What a stream is asked for beside its input and the settings.

    ``outputs`` as ``-o`` names them; ``stats`` and ``control_at`` as their options do; ``is_quiet``: print errors only.
    """

    outputs: tuple[str, ...]
    overwrite: bool
    is_quiet: bool
    stats: Path | None
    control_at: str | None


def stream_live(config: Config, input_: LiveInput, options: StreamOptions, started_at: float) -> int:
    """Open everything, stream to the end, and say what was made. Returns the exit code. Raises MuseTalkError.

    ``started_at``: when the command began, by ``time.perf_counter()``.
    """
    from musetalk_cli.app.input_check import check_not_replaced, input_first
    from musetalk_cli.app.live_assembly import build_live_pipeline, open_targets

    check_stdout(options.outputs, options.stats)
    check_not_replaced(config, input_.location, options.outputs)
    notices, tell = Notices(), choose_tell(is_quiet=options.is_quiet)
    with input_first(config, None if input_.sample_format else input_.location):
        fan_out = open_targets(config, input_, list(options.outputs), overwrite=options.overwrite, tell=notices.add)
    stats_file = open_stats(options.stats, tell, overwrite=options.overwrite)
    with ExitStack() as cleanup:
        control = cleanup.enter_context(closing(Control(options.control_at))) if options.control_at else None
        pipeline = build_live_pipeline(config, input_, fan_out, started_at, tell, notices.add)
        cleanup.callback(pipeline.close)
        try:
            summary, exit_code = run_live(pipeline, stats_file, notices, control, is_quiet=options.is_quiet)
        except MuseTalkError as error:
            if isinstance(error, SourceError) and error.is_at_start:
                fan_out.discard()
            error.hint = "; ".join(filter(None, [error.hint, *_describe_places(fan_out)]))
            raise
    if not options.is_quiet:
        say(f"{summary} → {fan_out.where or 'nothing was kept'}")
    return exit_code


def _describe_places(fan_out: FanOut) -> list[str]:
    """After an error: which targets have everything, and which something."""
    complete = [target.where for target in fan_out.targets if target.is_complete and target.where]
    rest = [target.where for target in fan_out.targets if not target.is_complete and target.where]
    said = [f"{', '.join(complete)} {'is' if len(complete) == 1 else 'are'} complete"] if complete else []
    return [*said, *([f"what was made so far went to {', '.join(rest)}"] if rest else [])]


def run_live(
    pipeline: Pipeline, stats: StatsFile | None, notices: Notices, control: Control | None, *, is_quiet: bool
) -> tuple[str, int]:
    """Run to the end.

    Args:
        pipeline: ready to start.
        stats: takes the figures of every second.
        notices: lines from other threads.
        control: commands to obey besides the keys; the caller's to close.
        is_quiet: print errors only.

    Returns:
        A summary and the exit code: 0, or 128 + the signal that interrupted it.

    Raises:
        MuseTalkError: the pipeline's first error, after everything has been released.
    """
    with own_stderr():
        if control:
            control.start(pipeline, notices.add)
        return _run(pipeline, stats, notices, is_quiet)


def _run(pipeline: Pipeline, stats: StatsFile | None, notices: Notices, is_quiet: bool) -> tuple[str, int]:
    dashboard = open_stream_dashboard(is_quiet=is_quiet, is_plain=is_on_terminal(stats))
    keys, slow_machine = Keys(), SlowMachine()
    ending.on_leaving(keys.close)

    def tick() -> None:
        for text in notices.take():
            dashboard.tell(text)
        for key in keys.read():
            _obey(key, pipeline, dashboard)
        if told := slow_machine.describe(pipeline.snapshot()):
            dashboard.tell(told)

    try:
        snapshot, exit_code = run_pipeline(pipeline, dashboard, stats, STREAM, tick)
    finally:
        keys.close()
        for text in notices.take():
            dashboard.tell(text)
    return describe_run(snapshot), exit_code


def _obey(key: str, pipeline: Pipeline, dashboard: Dashboard) -> None:
    if key in "qQ":
        dashboard.tell("stopping: finishing what is under way")
        pipeline.stop()
    elif key in "mM":
        dashboard.tell("muted" if pipeline.toggle_mute() else "unmuted")
    elif key in "cC":
        try:
            interrupt(pipeline, dashboard.tell)
        except SessionError as error:
            dashboard.tell(str(error))


def describe_run(snapshot: Snapshot) -> str:
    """``1500 frames, 60.0 s, latency 2.61 s (p95 3.40), 0 held, 4.1 MB``"""
    parts = [frames_text(snapshot.num_frames), f"{snapshot.media_s:.1f} s"]
    if live := snapshot.live:
        counts = live.counts
        parts.append(f"latency {live.latency.run_p50_s:.2f} s (p95 {live.latency.run_p95_s:.2f})")
        parts += [
            f"{frames_text(number)} {word}"
            for number, word in (
                (counts.num_held, "held"),
                (counts.num_idle, "idle for lack of time"),
                (counts.num_skipped, "skipped"),
            )
            if number
        ]
        parts += filter(None, map(_describe_loss, live.targets))
        if live.num_overruns:
            parts.append(f"{live.num_overruns} overruns of the microphone")
    return ", ".join([*parts, size_text(snapshot.num_bytes)]) + describe_model(snapshot)


def _describe_loss(target: TargetHealth) -> str:
    """What a target has not got; empty where it has everything."""
    if not target.num_bytes:
        is_stdout = target.name == "standard output"
        why = "nobody read standard output; is the program behind the pipe installed?"
        return why if is_stdout else f"{target.name} was never reached"
    lost = f"{frames_text(target.num_dropped)} lost" if target.num_dropped else ""
    again = f"restarted {target.num_restarts} ×" if target.num_restarts else ""
    said = " and ".join(filter(None, [lost, again]))
    return f"{target.name}: {said}" if said else ""
