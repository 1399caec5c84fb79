"""Inputs and outputs of ``render``, and its options for many files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

InputsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="INPUT...",
        help="Audio or video file, URL, or - for stdin. Several, and folders, make a video each.",
        show_default=False,
    ),
]
OutputOption = Annotated[
    list[str] | None,
    typer.Option(
        "-o",
        "--output",
        help="File to write: .mp4, .mov, .mkv, .webm or NAME-%05d.png, or - for stdout. May be repeated. For several "
        "inputs, a folder. [default: INPUT's name + .mp4]",
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
    typer.Option(
        "--jobs",
        min=1,
        max=64,
        help="Files rendered at once, by each worker of --ray. [default: as many as cores, at most 3]",
    ),
]
ReportOption = Annotated[
    Path | None,
    typer.Option("--report", help="Write a JSON line for each of several files to this file; - is stdout."),
]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Of several files, leave those that an earlier run has made whole.")
]

RayOption = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Render on a Ray cluster: its address, auto, or local (worker processes on this machine).",
        show_default=False,
    ),
]
CpusPerWorkerOption = Annotated[
    int | None,
    typer.Option("--cpus-per-worker", min=1, max=256, help="Cores of each worker of --ray. [default: 2]"),
]


def is_batch(inputs: Sequence[str], manifest: str | None, ray: str | None) -> bool:
    """Whether more is rendered than one file, or not here."""
    is_folder = len(inputs) == 1 and inputs[0] != "" and Path(inputs[0]).is_dir()
    return manifest is not None or len(inputs) > 1 or is_folder or (ray is not None and len(inputs) > 0)


def check_batch(
    inputs: Sequence[str], manifest: str | None, ray: str | None, cpus_per_worker: int | None, **single: Any
) -> None:
    """Raise BadParameter for options that do not go together.

    Args:
        inputs: what is rendered, or
        manifest: what lists it.
        ray: address of a cluster.
        cpus_per_worker: for a cluster only.
        single: options that are for one file only.
    """
    if cpus_per_worker and ray is None:
        raise typer.BadParameter("is for the workers of --ray", param_hint="--cpus-per-worker")
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
            hint = "is for several inputs, a folder or a --manifest"
            raise typer.BadParameter(hint, param_hint=f"--{name.replace('_', '-')}")
