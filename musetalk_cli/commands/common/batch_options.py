"""Inputs and outputs of ``render``, and its options for many files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

InputsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="INPUT",
        help="Audio or video file, URL, or - for stdin. Several, and folders, make a video each.",
        show_default=False,
    ),
]
OutputOption = Annotated[
    list[str] | None,
    typer.Option(
        "-o",
        "--output",
        help="File to write: .mp4, .mov or .mkv, or - for stdout. May be repeated. For several inputs, a folder. "
        "[default: INPUT's name + .mp4]",
    ),
]
ManifestOption = Annotated[
    str | None,
    typer.Option(
        "--manifest",
        metavar="FILE",
        help="Render what a file lists, CSV or JSON lines: voice, avatar, output, settings; - is stdin, a queue.",
        show_default=False,
    ),
]
JobsOption = Annotated[
    int | None,
    typer.Option("--jobs", min=1, max=64, help="Files rendered at once. [default: 3, or 2 on a single core]"),
]
ReportOption = Annotated[
    Path | None,
    typer.Option("--report", help="Write a JSON line for each of several files to this file; - is stdout."),
]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Of several files, leave those that an earlier run has made whole.")
]


def is_batch(inputs: Sequence[str], manifest: str | None) -> bool:
    """Whether more is rendered than one file."""
    is_folder = len(inputs) == 1 and inputs[0] != "" and Path(inputs[0]).is_dir()
    return manifest is not None or len(inputs) > 1 or is_folder


def check_batch(inputs: Sequence[str], manifest: str | None, **single: Any) -> None:
    """Raise BadParameter for a manifest beside inputs, and for options that are for one file only."""
    if manifest is not None and inputs:
        raise typer.BadParameter(f"lists all inputs, and {inputs[0]} is given too", param_hint="--manifest")
    for name, value in single.items():
        if value:
            hint = "it is for one file; --report writes a line for each of several"
            raise typer.BadParameter(hint, param_hint=f"--{name}")


def refuse_batch_options(**given: Any) -> None:
    """Raise BadParameter for an option of several files where there is one."""
    for name, value in given.items():
        if value:
            raise typer.BadParameter("is for several inputs, a folder or a --manifest", param_hint=f"--{name}")
