"""Which settings files are read: the user's own, a preset, and those that are named."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from musetalk_cli.errors import ConfigError
from musetalk_cli.hints import one_of, quote, suggest
from musetalk_cli.system.folders import expand, settings_folder

USER_FILE_VARIABLE = "MUSETALK_CONFIG"  # the user's file; empty: none
PRESETS = Path(__file__).parent / "presets"


def preset_names() -> list[str]:
    """The presets that ship with the package."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def user_file() -> Path | None:
    """The user's own settings file, whether it exists or not; None where MUSETALK_CONFIG is set and empty, or there
    is no home folder."""
    named = os.environ.get(USER_FILE_VARIABLE)
    if named is not None:
        return expand(named) if named else None
    folder = settings_folder()
    return folder / "config.yaml" if folder else None


def choose_files(preset: str | None, named: Sequence[str | Path], *, reads_user_file: bool = True) -> list[Path]:
    """The files to read, later ones winning: the user's, the preset's, those that were named.

    Raises ConfigError for a preset that does not exist, and where MUSETALK_CONFIG names a file that does not.
    """
    own = user_file() if reads_user_file else None
    files = [own] if own is not None and _is_there(own) else []
    if preset is not None:
        files.append(_preset_file(preset))
    return [*files, *(Path(path) for path in named)]


def name_of(path: Path) -> str:
    """What messages call a settings file: its path, or how a preset is asked for."""
    return f"--preset {path.stem}" if path.parent == PRESETS else str(path)


def _is_there(own: Path) -> bool:
    """Whether the user has a file; one in a folder that is somebody else's is not the user's."""
    try:
        own.stat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        if os.environ.get(USER_FILE_VARIABLE):
            raise ConfigError(f"there is no settings file {own}", hint=f"{USER_FILE_VARIABLE} names it") from None
        return False
    return True


def _preset_file(preset: str) -> Path:
    names = preset_names()
    if preset not in names:
        raise ConfigError(f"--preset {quote(preset)}: must be {one_of(names)}", hint=suggest(preset, names))
    return PRESETS / f"{preset}.yaml"
