"""Arguments of the Python functions that are no settings, checked before any work is done.

The options of the commands have the same limits, from here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from musetalk_cli.configuration.schema import Range
from musetalk_cli.configuration.validation import check_section
from musetalk_cli.errors import ConfigError
from musetalk_cli.system.names import can_be_path

START_S = Range(0)
MAX_SECONDS = Range(0.04)
HEIGHT_PX = Range(64, 2160)
FACE = Range(1)
BBOX_SHIFT_PX = Range(-100, 100)

Arguments = TypeVar("Arguments")


@dataclass(frozen=True)
class PreparationArguments:
    """What ``prepare_avatar`` and the command of that name take; ``name`` None is the input's own name."""

    name: str | None = None
    start_s: Annotated[float, START_S] = 0.0
    max_seconds: Annotated[float, MAX_SECONDS] | None = None
    size: Annotated[int, HEIGHT_PX] | None = None
    face: Annotated[int, FACE] | None = None
    bbox_shift: Annotated[int, BBOX_SHIFT_PX] = 0


def check_arguments(kind: type[Arguments], **values: Any) -> Arguments:
    """``values`` as a dataclass whose annotations say what each may be. Raises ConfigError that names a wrong one."""
    return check_section(kind, values)


def check_path(name: str, value: object) -> str:
    """A path or URL, given as text or as a path. Raises ConfigError that names the argument."""
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(path, str) or not path or not can_be_path(path):
        raise ConfigError(f"'{name}' is {value!r:.60}: must be a path")
    return path
