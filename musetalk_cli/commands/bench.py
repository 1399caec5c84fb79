"""``musetalk bench``: how fast is it here, and what bounds it."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from musetalk_cli.app.settings.flags import settings_of, with_settings
from musetalk_cli.commands.common.choices import SWEEPS, check_choice, complete_choice
from musetalk_cli.commands.options import (
    MODEL_OPTIONS,
    VIDEO_OPTIONS,
    ConfigOption,
)
from musetalk_cli.commands.values.parsers import be_finite
from musetalk_cli.hints import one_of
from musetalk_cli.ui.console import choose_tell, say

if TYPE_CHECKING:
    from musetalk_cli.benchmark.measurements.procedure import Result


@with_settings(**MODEL_OPTIONS, **VIDEO_OPTIONS)
def bench(
    context: typer.Context,
    config: ConfigOption = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            "--seconds", min=0.2, max=600, callback=be_finite, help="Seconds of audio per measurement. [default: 4]"
        ),
    ] = None,
    rounds: Annotated[
        int | None, typer.Option("--rounds", min=1, max=100, help="Repetitions of each measurement. [default: 3]")
    ] = None,
    sweep: Annotated[
        str | None,
        typer.Option(
            "--sweep",
            help=f"Measure every value of one setting: {one_of(SWEEPS)}.",
            autocompletion=complete_choice(SWEEPS),
        ),
    ] = None,
    sessions: Annotated[
        int | None, typer.Option("--sessions", min=1, max=64, help="Run this many streams at once.")
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Switch off each optimisation alone, and all of them.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document; the report goes to stderr.")
    ] = False,
    plot: Annotated[Path | None, typer.Option("--plot", help="Draw the figures into this PNG file.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing PNG file.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the figures only, no progress.")] = False,
) -> None:
    """Measure how fast this machine makes video. It needs no input and no weights."""
    loaded = settings_of(context)
    if sweep is not None:
        check_choice("--sweep", sweep, SWEEPS)

    from musetalk_cli.benchmark.measurements.procedure import run_benchmark
    from musetalk_cli.benchmark.report.plot import check_plot, write_plot
    from musetalk_cli.benchmark.workload.plan import BenchRequest

    request = BenchRequest(seconds, rounds, sweep, sessions, compare)
    if plot:
        check_plot(plot, request, overwrite=overwrite)
    result = run_benchmark(loaded.config, request, choose_tell(is_quiet=quiet))
    if plot:
        write_plot(plot, result)
    _report(result, as_json=as_json, is_quiet=quiet)


def plain(report: str) -> str:
    """For a terminal: what is bold in the Markdown first, and nothing of its signs."""
    answers = re.findall(r"\*\*(.+?)\*\*", report)
    return "\n".join([*answers, "", re.sub(r"\n*\*\*(.+?)\*\*", "", report)] if answers else [report])


def _report(result: Result, *, as_json: bool, is_quiet: bool) -> None:
    from musetalk_cli.benchmark.report.tables import describe

    text = describe(result)
    if not as_json:
        typer.echo(plain(text) if sys.stdout.isatty() else text)
        return
    for line in text.splitlines() if not is_quiet else ():
        say(line)
    typer.echo(json.dumps(result.as_record(), ensure_ascii=False))
