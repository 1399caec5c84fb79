"""The folders that the system gives a user, and what takes their place where it gives none.

A container that runs under any user id has no HOME and no entry in the list of users; that of a service may be
read-only.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from musetalk_cli.errors import ConfigError, system_words


def data_folder() -> Path:
    """Where what the user makes is kept; without a home, a folder of this user's beside other temporary files.

    Raises ConfigError as ``temporary_folder``.
    """
    return _ask_system("user_data_path") or temporary_folder()


def cache_folder() -> Path:
    """What may be deleted at any time: the user's cache, or a temporary folder where nothing can be written to that.

    Raises ConfigError as ``temporary_folder``.
    """
    usual = _ask_system("user_cache_path")
    return usual if usual and is_writable(usual) else temporary_folder() / "cache"


def settings_folder() -> Path | None:
    """Where the user's settings are, whether it exists or not; None without a home."""
    return _ask_system("user_config_path")


def temporary_folder() -> Path:
    """A folder beside other temporary files that is this user's alone, made now.

    Raises ConfigError when it cannot be made, or is somebody else's.
    """
    getuid = getattr(os, "getuid", None)  # on Windows, temporary files are a user's own already
    folder = Path(_temporary_files(), f"musetalk-{getuid()}" if getuid else "musetalk")
    hint = "set HOME, or MUSETALK_HOME, to a folder of yours"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        facts = folder.lstat()
    except OSError as error:
        raise ConfigError(
            f"there is no home folder, and no room in {folder} ({system_words(error)})", hint=hint
        ) from None
    is_own = getuid is None or (facts.st_uid == getuid() and not facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
    if not (is_own and stat.S_ISDIR(facts.st_mode)):
        raise ConfigError(f"there is no home folder, and {folder} is somebody else's", hint=hint)
    return folder


def is_writable(folder: Path) -> bool:
    """Whether files can be made in a folder, or in the one that it would be made in."""
    try:
        nearest = next(each for each in (folder, *folder.parents) if each.exists())
        return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)
    except (OSError, StopIteration):  # one on the way may not even be looked into
        return False


def expand(path: str | Path) -> Path:
    """With ``~`` replaced. Raises ConfigError for a home that nobody knows."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ConfigError(f"{path}: there is no such home folder", hint="name the folder itself") from None


def _ask_system(kind: str) -> Path | None:
    import platformdirs

    try:
        path: Path = getattr(platformdirs, kind)("musetalk", appauthor=False)
    except RuntimeError:  # its newer versions raise, its older ones leave ~ as it is
        return None
    return path if path.is_absolute() else None


def _temporary_files() -> str:
    try:
        return tempfile.gettempdir()
    except FileNotFoundError:  # none that is writable, and neither is the working directory
        return "/tmp"  # noqa: S108 - the message names it
