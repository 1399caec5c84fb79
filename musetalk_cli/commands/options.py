"""Options that several commands share, and how they meet the configuration."""

from __future__ import annotations

import functools
import inspect
import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from musetalk_cli.errors import SinkError

if TYPE_CHECKING:
    from musetalk_cli.config import LoadedConfig

AvatarOption = Annotated[
    str | None,
    typer.Option("--avatar", help="Who speaks: built in (nora, theo), prepared, or a picture or video of a face."),
]
AvatarDirOption = Annotated[
    str | None, typer.Option("--avatar-dir", help="Folder of the prepared avatars.", show_default=False)
]
FaceModelsOption = Annotated[
    str | None, typer.Option("--face-models", help="Folder with the two face nets.", show_default=False)
]
ModelOption = Annotated[
    str | None, typer.Option("--model", help="Lip-sync model: auto, warp, musetalk-1.5 or musetalk-1.0.")
]
DEVICE_HELP = "Where MuseTalk runs: auto, cuda, cuda:N, mps or cpu; several GPUs: 0,1."
DeviceOption = Annotated[str | None, typer.Option("--device", "--devices", "--model-device", help=DEVICE_HELP)]
PrecisionOption = Annotated[str | None, typer.Option("--precision", help="Its numbers: auto, fp16, bf16 or fp32.")]
RandomWeightsOption = Annotated[
    bool | None, typer.Option("--random-weights", help="MuseTalk with weights by lot, to measure: it paints noise.")
]
SilenceGateOption = Annotated[
    bool | None, typer.Option("--silence-gate/--no-silence-gate", help="Keep the avatar's own mouth in silence.")
]
CompatOption = Annotated[
    str | None,
    typer.Option(
        "--compat", help="upstream: MuseTalk exactly as its official script does it, to compare with; or none."
    ),
]
FpsOption = Annotated[float | None, typer.Option("--fps", help="Frames per second, 5 to 60.")]
SizeOption = Annotated[int | None, typer.Option("--size", help="Height of the video in pixels, even.")]
WorkersOption = Annotated[int | None, typer.Option("--workers", help="Batches made at once, at most one per core.")]
ConfigOption = Annotated[
    list[Path] | None, typer.Option("--config", help="YAML file with settings; later ones win.", show_default=False)
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
    bool, typer.Option("--print-config", help="Show every setting and where it came from, and exit.")
]

KEY_OF_FLAG = {
    "avatar": "avatar",
    "avatar_dir": "avatar_dir",
    "face_models": "face_models",
    "model": "model",
    "model_device": "device",
    "precision": "precision",
    "random_weights": "random_weights",
    "silence_gate": "silence.gate",
    "compat": "compat",
    "fps": "video.fps",
    "size": "video.size",
    "workers": "performance.parallel_workers",
    "block": "audio.target_duration",
    "encoder": "stream.encoder",
    "when_slow": "stream.when_slow",
    "on_source_loss": "stream.on_source_loss",
    "on_sink_loss": "stream.on_sink_loss",
}


def be_finite(value: float | None) -> float | None:
    """A callback of options: a range alone lets nan pass, and inf where it has no end."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number")
    return value


def load_settings(files: list[Path] | None, **flags: Any) -> LoadedConfig:
    """The configuration for a command: its files, then those of its flags that were given. Raises ConfigError."""
    from musetalk_cli.config import load_config

    given = {
        KEY_OF_FLAG[name]: (f"--{name.replace('_', '-')}", value) for name, value in flags.items() if value is not None
    }
    return load_config(files or (), given)


def with_settings(**options: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command these options in front of its ``config``: names of KEY_OF_FLAG, and how Typer is to know them.

    The command itself is not handed their values: it has them from ``settings_of``.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(command, eval_str=True).parameters.values())
        shared = [
            inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None, annotation=option)
            for name, option in options.items()
        ]
        at = [parameter.name for parameter in own].index("config")
        parameters = [*own[:at], *shared, *own[at:]]

        @functools.wraps(command)
        def run(**values: Any) -> None:
            command(**{name: value for name, value in values.items() if name not in options})

        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate


def settings_of(context: typer.Context) -> LoadedConfig:
    """The configuration for the command that was called: its ``config`` files, then its flags. Raises ConfigError."""
    from musetalk_cli.config import load_config

    options = {option.name: option for option in context.command.params}
    values = {name: context.params.get(name) for name in KEY_OF_FLAG}
    given = {
        KEY_OF_FLAG[name]: ((options[name].secondary_opts if value is False else options[name].opts)[0], value)
        for name, value in values.items()
        if value is not None
    }
    # Some versions of Typer keep in the context what was typed, and make paths of it later.
    return load_config([Path(name) for name in context.params["config"] or ()], given)


def print_settings(loaded: LoadedConfig) -> None:
    """Every setting as YAML on stdout, with where it came from."""
    for key, value in asdict(loaded.config).items():
        if isinstance(value, dict):
            typer.echo(f"{key}:")
            for name, inner in value.items():
                _print_setting(f"  {name}", inner, loaded.origins[f"{key}.{name}"])
        else:
            _print_setting(key, value, loaded.origins[key])


def _print_setting(key: str, value: Any, origin: str) -> None:
    typer.echo(f"{f'{key}: {json.dumps(value)}':<34}  # {origin}")


def check_apart(files: Sequence[tuple[str, str | Path | None]]) -> None:
    """Raise SinkError when one of ``files`` (what it is, its path) would be read and written, or written twice."""
    named = [(what, Path(path)) for what, path in files if path and str(path) != "-" and "://" not in str(path)]
    for index, (what, path) in enumerate(named):
        for other, other_path in named[:index]:
            is_same = os.path.realpath(path) == os.path.realpath(other_path) and not path.is_char_device()
            if is_same and {what, other} != {"settings"}:
                raise SinkError(f"{other} and {what} are the same file: {path}", hint="choose another name")
