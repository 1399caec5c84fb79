"""``musetalk models export``: a neural model's nets as ONNX graphs, for other runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from musetalk_cli.app.folders import weight_store
from musetalk_cli.commands.common.completion import complete_weights
from musetalk_cli.ui.downloads import TransferDisplay

MAX_BATCH_SIZE = 64


def export(
    onnx: Annotated[
        Path, typer.Option("--onnx", metavar="DIR", help="Folder to make, with ONNX graphs.", show_default=False)
    ],
    name: Annotated[
        str,
        typer.Argument(metavar="[NAME]", help="A model whose weights are here.", autocompletion=complete_weights),
    ] = "musetalk-1.5",
    batch_size: Annotated[
        list[int] | None,
        typer.Option(
            "--batch-size",
            min=1,
            max=MAX_BATCH_SIZE,
            help="Frames that a graph takes at once; repeat it for several graphs. 1 by default.",
            show_default=False,
        ),
    ] = None,
    is_overwriting: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier export in DIR.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Export the UNet, the VAE's decoder and Whisper's encoder as ONNX graphs, checked against PyTorch."""
    from musetalk_cli.engine.weights.onnx_export import export_onnx, find_model

    files = find_model(name, weight_store())
    with TransferDisplay(is_quiet=quiet) as display:
        graphs = export_onnx(name, files, onnx, batch_size or [1], display.say, is_replacing=is_overwriting)
    for graph in graphs if not quiet else ():
        typer.echo(onnx / graph.file)
