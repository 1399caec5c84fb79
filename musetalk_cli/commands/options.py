"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from musetalk_cli.commands.common.completion import (
    complete_avatars,
    complete_devices,
    complete_models,
    complete_setting,
)
from musetalk_cli.commands.values.parsers import HeightParser
from musetalk_cli.errors import SinkError

AvatarOption = Annotated[
    str | None,
    typer.Option(
        "--avatar",
        help="Avatar: nora or theo (built in), a prepared one (its name or folder), or an image or video of a face.",
        autocompletion=complete_avatars,
    ),
]
BackgroundOption = Annotated[
    str | None,
    typer.Option(
        "--background", help="Behind the person: keep; or, cut out, on transparent, green, #rrggbb … or an image file."
    ),
]
AvatarDirOption = Annotated[
    str | None, typer.Option("--avatar-dir", help="Folder of the prepared avatars.", show_default=False)
]
AvatarArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="Name of the avatar.", show_default=False, autocompletion=complete_avatars)
]
FaceModelsOption = Annotated[
    str | None,
    typer.Option("--face-models", help="Folder with the two face models, instead of a download.", show_default=False),
]
LosslessOption = Annotated[
    bool | None, typer.Option("--lossless", help="Store a video's frames without loss, three to four times as large.")
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="Lip-sync model: warp (any CPU, no download), musetalk-1.5 or musetalk-1.0 (neural, see musetalk models), "
        "one of your own (musetalk models import --name), or auto: musetalk-1.5 where its weights, PyTorch and a GPU "
        "are present, else warp.",
        autocompletion=complete_models,
    ),
]
DEVICE_HELP = (
    "Where MuseTalk runs (warp takes the CPU): auto (a GPU if there is one), cuda, cuda:N, mps or cpu; "
    "several GPUs are cuda:0,1."
)
DeviceOption = Annotated[
    str | None,
    typer.Option("--device", "--devices", "--model-device", help=DEVICE_HELP, autocompletion=complete_devices),
]
PrecisionOption = Annotated[
    str | None,
    typer.Option(
        "--precision",
        help="Precision of MuseTalk: auto (fp16 on a GPU, bf16 on a CPU that has it, else fp32), fp16, bf16 or fp32.",
        autocompletion=complete_setting("precision"),
    ),
]
RandomWeightsOption = Annotated[
    bool | None,
    typer.Option(
        "--random-weights", help="Use random weights for MuseTalk, to measure its speed. The faces are noise."
    ),
]
SilenceGateOption = Annotated[
    bool | None,
    typer.Option("--silence-gate/--no-silence-gate", help="Show the avatar's own mouth where nobody speaks."),
]
ExpressionOption = Annotated[
    float | None,
    typer.Option("--expression", help="How far warp's mouth moves, 0.5 to 1.5; 1 is as far as people's."),
]
CompatOption = Annotated[
    str | None,
    typer.Option(
        "--compat",
        help="upstream: reproduce MuseTalk's official script, to compare frames with it; none: do not.",
        autocompletion=complete_setting("compat"),
    ),
]
FpsOption = Annotated[float | None, typer.Option("--fps", help="Frames per second, 5 to 60.")]
SizeOption = Annotated[
    int | None,
    typer.Option(
        "--size",
        parser=HeightParser(),
        metavar="HEIGHT",
        help="Height of the video in pixels, even, such as 720 or 720p.",
    ),
]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", help="Batches of one video computed in parallel, at most one per core.")
]
ConfigOption = Annotated[
    list[Path] | None,
    typer.Option("--config", help="YAML file with settings. May be repeated; later files win.", show_default=False),
]
StatsOption = Annotated[
    Path | None, typer.Option("--stats", help="Write timings to this file as JSON lines; - is stdout.")
]
# For ``with_settings``: what every command that makes faces has.
MODEL_OPTIONS = {
    "model": ModelOption,
    "model_device": DeviceOption,
    "precision": PrecisionOption,
    "random_weights": RandomWeightsOption,
}
# For ``with_library_settings``: what every command about the avatars has.
LIBRARY_OPTIONS = {"avatar_dir": AvatarDirOption, "config": ConfigOption}
DemoOption = Annotated[
    bool, typer.Option("--demo", help="Speak the example voice that ships, instead of an input of yours.")
]
VIDEO_OPTIONS = {"fps": FpsOption, "size": SizeOption, "workers": WorkersOption}
PrintConfigOption = Annotated[
    bool, typer.Option("--print-config", help="Print every setting and its origin, and exit.")
]


def check_apart(files: Sequence[tuple[str, str | Path | None]]) -> None:
    """Raise SinkError when one of ``files`` (what it is, its path) would be read and written, or written twice."""
    named = [(what, Path(path)) for what, path in files if path and str(path) != "-" and "://" not in str(path)]
    for index, (what, path) in enumerate(named):
        for other, other_path in named[:index]:
            is_same = os.path.realpath(path) == os.path.realpath(other_path) and not path.is_char_device()
            if is_same and {what, other} != {"settings"}:
                raise SinkError(f"{other} and {what} are the same file: {path}", hint="choose another name")
