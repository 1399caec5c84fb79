"""Options of ``stream`` that set a key of the settings."""

from __future__ import annotations

from typing import Annotated

import typer

from musetalk_cli.commands.common.completion import complete_setting

LIVE_OPTIONS = {
    "block": Annotated[float | None, typer.Option("--block", help="Seconds of audio per block, 0.2 to 4.")],
    "when_slow": Annotated[
        str | None,
        typer.Option(
            "--when-slow",
            help="Frames that are late: hold (repeat the last one), idle (the avatar at rest) or skip (make fewer).",
            autocompletion=complete_setting("stream.when_slow"),
        ),
    ],
    "encoder": Annotated[
        str | None,
        typer.Option(
            "--encoder",
            help="H.264 encoder: auto (hardware if it works), x264 (CPU), nvenc (NVIDIA) or videotoolbox (macOS).",
            autocompletion=complete_setting("stream.encoder"),
        ),
    ],
    "on_source_loss": Annotated[
        str | None,
        typer.Option(
            "--on-source-loss",
            help="A lost microphone: retry (silence meanwhile) or stop.",
            autocompletion=complete_setting("stream.on_source_loss"),
        ),
    ],
    "on_sink_loss": Annotated[
        str | None,
        typer.Option(
            "--on-sink-loss",
            help="A lost target: retry (the others go on) or stop.",
            autocompletion=complete_setting("stream.on_sink_loss"),
        ),
    ],
}
