"""Arguments and options of ``musetalk models``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from musetalk_cli.commands.common.completion import complete_weights

MAX_BATCH_SIZE = 64  # of an exported graph

NamesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NAME]...",
        help="Weights: musetalk-1.5, musetalk-1.0 or face-parsing.",
        show_default=False,
        autocompletion=complete_weights,
    ),
]
ModelArgument = Annotated[
    str, typer.Argument(metavar="[NAME]", help="A model whose weights are here.", autocompletion=complete_weights)
]
FolderArgument = Annotated[
    Path,
    typer.Argument(
        metavar="DIR", help="Models folder of the original project, or its parent; with --name a checkpoint."
    ),
]
NameOption = Annotated[
    str | None, typer.Option("--name", help="Name of a model of your own, for --model.", show_default=False)
]
BaseOption = Annotated[
    str | None,
    typer.Option(
        "--base", help="Official model that it was trained from: musetalk-1.5 or musetalk-1.0.", show_default=False
    ),
]
OnnxOption = Annotated[
    Path, typer.Option("--onnx", metavar="DIR", help="Folder to make, with ONNX graphs.", show_default=False)
]
BatchSizesOption = Annotated[
    list[int] | None,
    typer.Option(
        "--batch-size",
        min=1,
        max=MAX_BATCH_SIZE,
        help="Frames that a graph takes at once; repeat it for several graphs. 1 by default.",
        show_default=False,
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
