"""``musetalk stream``: a live voice → one continuous video of an avatar that says it."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from musetalk_cli.app.settings.flags import print_settings, settings_of, with_settings
from musetalk_cli.commands.common.choices import SAMPLE_FORMATS, complete_choice
from musetalk_cli.commands.common.completion import complete_devices, complete_microphones
from musetalk_cli.commands.common.live_input import describe_input
from musetalk_cli.commands.common.live_options import LIVE_OPTIONS
from musetalk_cli.commands.options import (
    DEVICE_HELP,
    MODEL_OPTIONS,
    VIDEO_OPTIONS,
    AvatarDirOption,
    AvatarOption,
    BackgroundOption,
    ConfigOption,
    DemoOption,
    ExpressionOption,
    PrintConfigOption,
    SilenceGateOption,
    StatsOption,
    check_apart,
)
from musetalk_cli.commands.values.parsers import be_finite, choose_input

# --device names the microphone here.
ModelDeviceOption = Annotated[
    str | None, typer.Option("--model-device", "--devices", help=DEVICE_HELP, autocompletion=complete_devices)
]
FORMATS = ", ".join(SAMPLE_FORMATS)


@with_settings(
    avatar=AvatarOption,
    background=BackgroundOption,
    avatar_dir=AvatarDirOption,
    **{**MODEL_OPTIONS, "model_device": ModelDeviceOption},
    silence_gate=SilenceGateOption,
    expression=ExpressionOption,
    **VIDEO_OPTIONS,
    **LIVE_OPTIONS,
)
def stream(
    context: typer.Context,
    mic: Annotated[bool, typer.Option("--mic", help="Read from a microphone.")] = False,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            help="Microphone: its number or a part of its name. The model's is --model-device.",
            autocompletion=complete_microphones,
        ),
    ] = None,
    input_: Annotated[str | None, typer.Option("-i", "--input", help="File, URL, or - for stdin.")] = None,
    demo: DemoOption = False,
    sample_format: Annotated[
        str | None,
        typer.Option("--format", help=f"Raw PCM on stdin: {FORMATS}.", autocompletion=complete_choice(SAMPLE_FORMATS)),
    ] = None,
    rate: Annotated[
        int | None, typer.Option("--rate", help="Sample rate in Hz, of raw PCM [default: 24000] or the microphone.")
    ] = None,
    channels: Annotated[int, typer.Option("--channels", min=1, max=2, help="Channels of raw PCM.")] = 1,
    output: Annotated[
        list[str] | None,
        typer.Option(
            "-o",
            "--output",
            help="Target: -, a .mp4, .mov or .mkv file, rtmp://, udp://, srt://, or FOLDER/ or .m3u8 (HLS). "
            "May be repeated. [default: -]",
        ),
    ] = None,
    no_pace: Annotated[bool, typer.Option("--no-pace", help="Run as fast as possible, not in real time.")] = False,
    duration: Annotated[
        float | None,
        typer.Option("--duration", min=0.1, callback=be_finite, help="Stop after this many seconds."),
    ] = None,
    control: Annotated[str | None, typer.Option("--control", help="Read commands from FD or PATH.")] = None,
    config: ConfigOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing output files.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
    stats: StatsOption = None,
    print_config: PrintConfigOption = False,
) -> None:
    """Stream a live video of an avatar. It speaks the audio of a microphone, a pipe, a URL or a file."""
    started_at = time.perf_counter()
    loaded = settings_of(context)
    if print_config:
        return print_settings(loaded)
    input_ = choose_input(input_, demo)
    request = describe_input(mic, device, input_, sample_format, rate, channels, not no_pace, duration)
    named = [("output", path) for path in output or ()] + [("settings", str(path)) for path in config or ()]
    check_apart([("input", input_), ("statistics", stats), ("control", control), *named])

    from musetalk_cli.system.imports import load_apart

    load_apart("numpy")
    from musetalk_cli.app.live_run import StreamOptions, stream_live

    options = StreamOptions(tuple(output or ["-"]), overwrite, quiet, stats, control)
    raise typer.Exit(stream_live(loaded.config, request, options, started_at))
