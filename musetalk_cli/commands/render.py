"""``musetalk render``: a voice from a file, a URL or stdin → one MP4 of an avatar that says it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from musetalk_cli.app.flags import print_settings, settings_of, with_settings
from musetalk_cli.commands.options import (
    MODEL_OPTIONS,
    VIDEO_OPTIONS,
    AvatarDirOption,
    AvatarOption,
    CompatOption,
    ConfigOption,
    DemoOption,
    PrintConfigOption,
    SilenceGateOption,
    check_apart,
    choose_input,
)
from musetalk_cli.ui.console import choose_tell, say

if TYPE_CHECKING:
    from musetalk_cli.configuration.schema import Config
    from musetalk_cli.engine.runtime.stats import Snapshot


@with_settings(
    avatar=AvatarOption,
    avatar_dir=AvatarDirOption,
    **MODEL_OPTIONS,
    silence_gate=SilenceGateOption,
    compat=CompatOption,
    **VIDEO_OPTIONS,
)
def render(
    context: typer.Context,
    input_: Annotated[
        str | None,
        typer.Argument(metavar="INPUT", help="Audio or video file, URL, or - for stdin.", show_default=False),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", help="MP4 file to write, or - for stdout. [default: INPUT's name + .mp4]"),
    ] = None,
    demo: DemoOption = False,
    config: ConfigOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output file.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
    stats: Annotated[Path | None, typer.Option("--stats", help="Write timings to this file as JSON lines.")] = None,
    print_config: PrintConfigOption = False,
) -> None:
    """Render a video of an avatar that speaks INPUT."""
    started_at = time.perf_counter()
    loaded = settings_of(context)
    if print_config:
        return print_settings(loaded)
    input_ = choose_input(input_, demo)
    if input_ is None:
        raise typer.BadParameter("give an audio file, a URL, - for stdin, or --demo", param_hint="INPUT")
    destination = default_output(input_) if output is None else output
    settings = [("settings", path) for path in config or ()]
    check_apart([("input", input_), ("output", destination), ("statistics", stats), *settings])
    exit_code = _render(loaded.config, input_, destination, overwrite, quiet, stats, started_at)
    raise typer.Exit(exit_code)


def default_output(input_: str) -> str:
    """The input's name with ``.mp4``, in the current folder."""
    if input_ == "-":
        return "stdin.mp4"
    name = input_.split("?")[0] if "://" in input_ else input_
    return f"{Path(name).stem or 'render'}.mp4"


def _render(
    config: Config, input_: str, destination: str, overwrite: bool, quiet: bool, stats: Path | None, started_at: float
) -> int:
    from musetalk_cli.app.runner import render_file, run_pipeline
    from musetalk_cli.app.running.stats_file import open_stats
    from musetalk_cli.ui.dashboard import open_dashboard

    stats_file = open_stats(stats, [destination], overwrite=overwrite)
    (snapshot, exit_code), where = render_file(
        config,
        input_,
        destination,
        lambda pipeline: run_pipeline(pipeline, open_dashboard(is_quiet=quiet), stats_file),
        overwrite=overwrite,
        started_at=started_at,
        tell=choose_tell(is_quiet=quiet),
    )
    if not quiet:
        say(describe_result(snapshot, where))
    return exit_code


def describe_result(snapshot: Snapshot, where: str | None) -> str:
    """``1500 frames, 60.0 s in 11.4 s (5.3× real time), 4.1 MB → speech.mp4``, with a neural model's name."""
    from musetalk_cli.ui.dashboard import describe_model

    if where is None:
        return "nothing was kept: the first fragment was not finished"
    size_mb = snapshot.num_bytes / 1e6
    pace = f"{snapshot.media_s:.1f} s in {snapshot.elapsed_s:.1f} s ({snapshot.speed:.1f}× real time)"
    return f"{snapshot.num_frames} frames, {pace}, {size_mb:.1f} MB{describe_model(snapshot)} → {where}"
