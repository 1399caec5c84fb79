"""What the shell offers behind an option or argument: avatars, weights, devices, the values of a setting.

An empty list lets the shell offer files. Nothing heavy is loaded: an answer has to be there before the key is up.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_type_hints

import typer

from musetalk_cli.app.settings.folders import avatars_folder
from musetalk_cli.errors import MuseTalkError

PORTRAITS = Path(__file__).parents[2] / "assets" / "portraits"
DEVICES = {
    "auto": "a GPU if there is one",
    "cuda": "the first NVIDIA GPU",
    "cuda:0": "this NVIDIA GPU; cuda:0,1 for two",
    "mps": "Apple",
    "cpu": "the processor",
}

Completions = list[tuple[str, str]]


def complete_avatars(context: typer.Context) -> Completions:
    """Built-in and prepared avatars."""
    portraits = [(path.stem, "built in") for path in sorted(PORTRAITS.glob("*.json"))]
    return portraits + complete_prepared(context)


def complete_prepared(context: typer.Context) -> Completions:
    """Prepared avatars, in the folder that was named on the line so far."""
    above = context.parent.params if context.parent is not None else {}
    try:
        folder = avatars_folder(context.params.get("avatar_dir") or above.get("avatar_dir"))
        names = sorted(path.parent.name for path in folder.glob("[!.]*/avatar.json"))
    except (OSError, MuseTalkError):  # who completes a line is told nothing
        return []
    return [(_as_typed(name), "prepared") for name in names]


def complete_models() -> list[str]:
    """Models that ``--model`` takes, those of the user's own included."""
    from musetalk_cli.app.settings.folders import weight_store
    from musetalk_cli.configuration.schema import MODELS
    from musetalk_cli.engine.weights.custom import list_custom

    try:
        return [*MODELS, *(each.name for each in list_custom(weight_store()))]
    except MuseTalkError:
        return list(MODELS)


def complete_weights() -> Completions:
    """Weights that can be downloaded."""
    from musetalk_cli.engine.weights.registry import WEIGHT_SETS

    return [(each.name, each.title) for each in WEIGHT_SETS]


def complete_devices() -> Completions:
    """Devices that the neural models run on."""
    return list(DEVICES.items())


def complete_microphones() -> Completions:
    """The numbers of the microphones; names have spaces, and half of the shells do not quote."""
    from musetalk_cli.engine.audio.microphone import list_devices

    try:
        return [(str(device.index), device.name) for device in list_devices()]
    except MuseTalkError:
        return []


def complete_setting(key: str) -> Callable[[], list[str]]:
    """The values that the schema has for a setting, by its dotted key."""

    def complete() -> list[str]:
        from musetalk_cli.configuration.schema import Config

        kind: Any = Config
        for part in key.split("."):
            kind = get_type_hints(kind)[part]
        return [value for value in get_args(kind) if isinstance(value, str)]

    return complete


def _as_typed(name: str) -> str:
    """A name as it is typed in bash, which does not quote what it is offered."""
    is_bash = os.environ.get("_MUSETALK_COMPLETE", "").endswith("bash")
    return re.sub(r"([^\w.-])", r"\\\1", name) if is_bash else name
