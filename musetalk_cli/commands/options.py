"""Options that several commands share."""

from __future__ import annotations

import functools
import inspect
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from musetalk_cli.errors import SinkError

AvatarOption = Annotated[
    str | None,
    typer.Option(
        "--avatar", help="Avatar: built in (nora, theo), prepared (its name or folder), or an image or video of a face."
    ),
]
AvatarDirOption = Annotated[
    str | None, typer.Option("--avatar-dir", help="Folder of the prepared avatars.", show_default=False)
]
FaceModelsOption = Annotated[
    str | None,
    typer.Option("--face-models", help="Folder with the two face models, instead of a download.", show_default=False),
]
ModelOption = Annotated[
    str | None, typer.Option("--model", help="Lip-sync model: auto, warp, musetalk-1.5 or musetalk-1.0.")
]
DEVICE_HELP = "Device that MuseTalk runs on: auto, cuda, cuda:N, mps or cpu; several GPUs: 0,1."
DeviceOption = Annotated[str | None, typer.Option("--device", "--devices", "--model-device", help=DEVICE_HELP)]
PrecisionOption = Annotated[
    str | None, typer.Option("--precision", help="Precision of MuseTalk: auto, fp16, bf16 or fp32.")
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
CompatOption = Annotated[
    str | None,
    typer.Option(
        "--compat", help="upstream: reproduce MuseTalk's official script, to compare frames with it; or none."
    ),
]
FpsOption = Annotated[float | None, typer.Option("--fps", help="Frames per second, 5 to 60.")]
SizeOption = Annotated[int | None, typer.Option("--size", help="Height of the video in pixels, even.")]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", help="Batches computed in parallel, at most one per core.")
]
ConfigOption = Annotated[
    list[Path] | None,
    typer.Option("--config", help="YAML file with settings. May be repeated; later files win.", show_default=False),
]
PresetOption = Annotated[
    str | None,
    typer.Option("--preset", help="Settings that ship with musetalk: realtime (an early first frame) or quality."),
]
NoUserConfigOption = Annotated[
    bool, typer.Option("--no-user-config", help="Do not read the user configuration file.", show_default=False)
]
# For ``with_settings``: what every command that makes faces has.
MODEL_OPTIONS = {
    "model": ModelOption,
    "model_device": DeviceOption,
    "precision": PrecisionOption,
    "random_weights": RandomWeightsOption,
}
VIDEO_OPTIONS = {"fps": FpsOption, "size": SizeOption, "workers": WorkersOption}
PrintConfigOption = Annotated[
    bool, typer.Option("--print-config", help="Print every setting and its origin, and exit.")
]


def be_finite(value: float | None) -> float | None:
    """A callback of options: a range alone lets nan pass, and inf where it has no end."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number")
    return value


def with_settings(**options: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add these options to a command, in front of its ``config``: Typer's annotations by their names in flags.py.

    So are ``preset`` and, behind ``config``, ``no_user_config``.

    The command's function does not get their values; ``settings_of`` returns them.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(command, eval_str=True).parameters.values())
        shared = [_parameter(name, option) for name, option in {**options, "preset": PresetOption}.items()]
        at = [parameter.name for parameter in own].index("config")
        no_user_config = _parameter("no_user_config", NoUserConfigOption, default=False)
        parameters = [*own[:at], *shared, own[at], no_user_config, *own[at + 1 :]]
        taken = [parameter.name for parameter in own]

        @functools.wraps(command)
        def run(**values: Any) -> None:
            command(**{name: value for name, value in values.items() if name in taken})

        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate


def _parameter(name: str, option: Any, default: Any = None) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=option)


def check_apart(files: Sequence[tuple[str, str | Path | None]]) -> None:
    """Raise SinkError when one of ``files`` (what it is, its path) would be read and written, or written twice."""
    named = [(what, Path(path)) for what, path in files if path and str(path) != "-" and "://" not in str(path)]
    for index, (what, path) in enumerate(named):
        for other, other_path in named[:index]:
            is_same = os.path.realpath(path) == os.path.realpath(other_path) and not path.is_char_device()
            if is_same and {what, other} != {"settings"}:
                raise SinkError(f"{other} and {what} are the same file: {path}", hint="choose another name")
