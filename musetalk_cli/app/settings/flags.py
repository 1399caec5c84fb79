"""From the flags of the command line to the configuration."""

from __future__ import annotations

import functools
import inspect
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from musetalk_cli.option_names import KEY_OF_FLAG

if TYPE_CHECKING:
    from musetalk_cli.configuration.loading import LoadedConfig
    from musetalk_cli.configuration.schema import Config


def complete_presets() -> list[str]:
    """For the shell."""
    from musetalk_cli.configuration.files import preset_names

    return preset_names()


PresetOption = Annotated[
    str | None,
    typer.Option(
        "--preset",
        help="Settings that ship: realtime (an early first frame) or quality (full size, for files to keep).",
        autocompletion=complete_presets,
    ),
]
NoUserConfigOption = Annotated[
    bool, typer.Option("--no-user-config", help="Do not read the user configuration file.", show_default=False)
]


def with_settings(**options: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add these options to a command, in front of its ``config``: Typer's annotations by their names in KEY_OF_FLAG.

    So are ``preset`` and, behind ``config``, ``no_user_config``.

    The command's function does not get their values; ``settings_of`` returns them.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(command, eval_str=True).parameters.values())
        shared = [_parameter(name, option) for name, option in {**options, "preset": PresetOption}.items()]
        at = [parameter.name for parameter in own].index("config")
        no_user_config = _parameter("no_user_config", NoUserConfigOption, default=False)
        return _taking(command, [*own[:at], *shared, own[at], no_user_config, *own[at + 1 :]])

    return decorate


def with_library_settings(**options: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add these options and ``no_user_config`` behind the others of ``avatars``, or of a command below it.

    The command's function does not get their values; ``library_settings`` returns the configuration.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(command, eval_str=True).parameters.values())
        shared = [_parameter(name, option) for name, option in options.items()]
        return _taking(command, [*own, *shared, _parameter("no_user_config", NoUserConfigOption, default=False)])

    return decorate


def _taking(command: Callable[..., None], parameters: list[inspect.Parameter]) -> Callable[..., None]:
    """A command with these parameters, of which its function gets its own."""
    taken = list(inspect.signature(command).parameters)

    @functools.wraps(command)
    def run(**values: Any) -> None:
        command(**{name: value for name, value in values.items() if name in taken})

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _parameter(name: str, option: Any, default: Any = None) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=option)


def load_settings(files: list[Path] | None, *, reads_user_file: bool = True, **flags: Any) -> LoadedConfig:
    """The configuration for a command: its files, then those of its flags that were given. Raises ConfigError."""
    from musetalk_cli.configuration.files import choose_files
    from musetalk_cli.configuration.loading import load_config

    given = {
        KEY_OF_FLAG[name]: (f"--{name.replace('_', '-')}", value) for name, value in flags.items() if value is not None
    }
    return _remember(load_config(choose_files(None, files or (), reads_user_file=reads_user_file), given))


def library_settings(context: typer.Context) -> Config:
    """The settings for ``avatars`` or a command below it, whose options may stand in front of its name, too."""
    above = context.parent.params if context.parent is not None else {}
    given = {name: context.params[name] or above.get(name) for name in ("avatar_dir", "config", "no_user_config")}
    files = [Path(name) for name in given["config"] or ()]
    return load_settings(files, reads_user_file=not given["no_user_config"], avatar_dir=given["avatar_dir"]).config


def settings_of(context: typer.Context) -> LoadedConfig:
    """The configuration for the command that was called: the user's file, its ``preset``, its ``config`` files, then
    its flags. Raises ConfigError."""
    from musetalk_cli.configuration.files import choose_files
    from musetalk_cli.configuration.loading import load_config

    options = {option.name: option for option in context.command.params}
    values = {name: context.params.get(name) for name in KEY_OF_FLAG}
    given = {
        KEY_OF_FLAG[name]: ((options[name].secondary_opts if value is False else options[name].opts)[0], value)
        for name, value in values.items()
        if value not in (None, [], ())  # an option that may be repeated, and was not given
    }
    preset, reads_user_file = context.params["preset"], not context.params["no_user_config"]
    files = choose_files(preset, context.params["config"] or (), reads_user_file=reads_user_file)
    return _remember(load_config(files, given))


def _remember(loaded: LoadedConfig) -> LoadedConfig:
    """For what is found wrong with them later."""
    from musetalk_cli.configuration.origins import remember_origins

    remember_origins(loaded.config, {key: origin for key, origin in loaded.origins.items() if origin != "default"})
    return loaded


def print_settings(loaded: LoadedConfig) -> None:
    """Every setting as YAML on stdout, with where it came from."""
    typer.echo(f"# user configuration file: {_describe_user_file(loaded.files)}")
    for key, value in asdict(loaded.config).items():
        if isinstance(value, dict):
            typer.echo(f"{key}:")
            for name, inner in value.items():
                _print_setting(f"  {name}", inner, loaded.origins[f"{key}.{name}"])
        else:
            _print_setting(key, value, loaded.origins[key])


def _describe_user_file(files: Sequence[Path]) -> str:
    from musetalk_cli.configuration.files import USER_FILE_VARIABLE, user_file

    path = user_file()
    if path is None:
        is_named = USER_FILE_VARIABLE in os.environ
        return f"none, {USER_FILE_VARIABLE} is empty" if is_named else "none, there is no home folder"
    if path in files:
        return str(path)
    return f"{path} ({'ignored' if path.exists() else 'there is none'})"


def _print_setting(key: str, value: Any, origin: str) -> None:
    typer.echo(f"{f'{key}: {json.dumps(value)}':<34}  # {origin}")
