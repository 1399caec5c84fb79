"""``musetalk render``: a voice from a file, a URL or stdin → a video file of an avatar that says it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from musetalk_cli.app.settings.flags import print_settings, settings_of, with_settings
from musetalk_cli.commands.common.batch_options import (
    CpusPerWorkerOption,
    InputsArgument,
    JobsOption,
    ManifestOption,
    OutputOption,
    RayOption,
    ReportOption,
    ResumeOption,
    check_batch,
    is_batch,
    refuse_batch_options,
)
from musetalk_cli.commands.options import (
    MODEL_OPTIONS,
    VIDEO_OPTIONS,
    AvatarDirOption,
    AvatarOption,
    BackgroundOption,
    CompatOption,
    ConfigOption,
    DemoOption,
    ExpressionOption,
    PrintConfigOption,
    SilenceGateOption,
    StatsOption,
    check_apart,
)
from musetalk_cli.commands.values.parsers import choose_input
from musetalk_cli.errors import MuseTalkError
from musetalk_cli.ui.console import choose_tell, say
from musetalk_cli.ui.corrections import correct_inputs, explain_missing_input
from musetalk_cli.ui.usage_errors import UsageError

if TYPE_CHECKING:
    from musetalk_cli.configuration.schema import Config


@with_settings(
    avatar=AvatarOption,
    background=BackgroundOption,
    avatar_dir=AvatarDirOption,
    **MODEL_OPTIONS,
    silence_gate=SilenceGateOption,
    expression=ExpressionOption,
    compat=CompatOption,
    **VIDEO_OPTIONS,
)
def render(
    context: typer.Context,
    inputs: InputsArgument = None,
    output: OutputOption = None,
    demo: DemoOption = False,
    config: ConfigOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output file.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
    stats: StatsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result on stdout as one JSON object.")] = False,
    manifest: ManifestOption = None,
    jobs: JobsOption = None,
    report: ReportOption = None,
    resume: ResumeOption = False,
    ray: RayOption = None,
    cpus_per_worker: CpusPerWorkerOption = None,
    print_config: PrintConfigOption = False,
) -> None:
    """Render a video of an avatar that speaks INPUT."""
    started_at = time.perf_counter()
    loaded = settings_of(context)
    if print_config:
        return print_settings(loaded)
    if manifest is None and (wrong := correct_inputs(inputs or (), context.find_root().command)):
        raise UsageError(f"unexpected argument: {wrong[0]}", hint=wrong[1])
    if is_batch(inputs or (), manifest, ray):
        check_batch(inputs or (), manifest, ray, cpus_per_worker, demo=demo, stats=stats, json=as_json)
        from musetalk_cli.app.cluster.render import BatchRequest, render_batch_at

        batch = (tuple(inputs or ()), tuple(output or ()), manifest, jobs, report, resume, overwrite, quiet)
        raise typer.Exit(render_batch_at(loaded.config, BatchRequest(*batch), ray, cpus_per_worker))
    refuse_batch_options(jobs=jobs, report=report, resume=resume, ray=ray, cpus_per_worker=cpus_per_worker)
    input_ = choose_input(inputs[0] if inputs else None, demo)
    if input_ is None:
        examples = ("musetalk render speech.wav", "musetalk render --demo speaks the example voice")
        message, hint = explain_missing_input("render", examples)
        raise UsageError(message, hint=hint)
    from musetalk_cli.app.batch.names import video_name

    outputs = output or [video_name(input_)]
    named = [("output", name) for name in outputs] + [("settings", str(path)) for path in config or ()]
    check_apart([("input", input_), ("statistics", stats), *named])
    request = RenderRequest(input_, tuple(outputs), overwrite, quiet, as_json, stats)
    raise typer.Exit(_render(loaded.config, request, started_at))


class RenderRequest(NamedTuple):
    """What the options ask for, settings aside."""

    input_: str
    outputs: tuple[str, ...]
    overwrite: bool
    quiet: bool
    as_json: bool
    stats: Path | None


def _render(config: Config, request: RenderRequest, started_at: float) -> int:
    from musetalk_cli.app.runner import render_file, run_pipeline
    from musetalk_cli.app.running.report import describe_result, error_record, result_record
    from musetalk_cli.app.running.stats_file import check_stdout, is_on_terminal, open_stats
    from musetalk_cli.ui.dashboard import open_dashboard

    check_stdout(request.outputs, request.stats, as_json=request.as_json)
    tell = choose_tell(is_quiet=request.quiet)
    stats_file = open_stats(request.stats, tell, overwrite=request.overwrite)
    is_plain = is_on_terminal(stats_file)
    try:
        (snapshot, exit_code), places = render_file(
            config,
            request.input_,
            request.outputs,
            lambda pipeline: run_pipeline(
                pipeline, open_dashboard(is_quiet=request.quiet, is_plain=is_plain), stats_file
            ),
            overwrite=request.overwrite,
            started_at=started_at,
            tell=tell,
        )
    except MuseTalkError as error:
        if request.as_json:
            typer.echo(json.dumps(error_record(request.input_, error), ensure_ascii=False))
        raise
    if not request.quiet:
        say(describe_result(snapshot, places))
    if request.as_json:
        typer.echo(json.dumps(result_record(request.input_, snapshot, places, exit_code), ensure_ascii=False))
    return exit_code
