"""The folders that are written to: whether that is allowed, and how much space is left."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from musetalk_cli.app.settings.folders import avatars_folder, cache_folder, home_folder
from musetalk_cli.doctor.checks.finding import Finding, Setup, ok, warning
from musetalk_cli.errors import system_words

LEAST_FREE_BYTES = 1_000_000_000
ELSEWHERE = "set MUSETALK_HOME to a folder that you may write to"


def check_folders(setup: Setup) -> list[Finding]:
    """Where avatars, weights and the cache are kept, temporary files, and the current folder."""
    return [
        _check("data folder", home_folder, ELSEWHERE),
        _check("avatars folder", lambda: avatars_folder(setup.config.avatar_dir), ELSEWHERE),
        _check("cache folder", cache_folder, ELSEWHERE),
        _check("temporary files", lambda: Path(tempfile.gettempdir()), "set TMPDIR to a folder that you may write to"),
        _check("current folder", Path.cwd, "change to another folder, or name outputs elsewhere with -o"),
    ]


def _check(name: str, find: Callable[[], Path], elsewhere: str) -> Finding:
    try:
        folder = find()
        existing = _nearest(folder)
        problem = _why_unwritable(existing)
        free_bytes = shutil.disk_usage(existing).free
    except (OSError, RuntimeError) as error:  # no HOME and no entry in passwd, a folder that was deleted
        return warning(name, f"not usable: {system_words(error)}", elsewhere)
    value = f"{folder}{'' if existing == folder else ', made when needed'}, {free_bytes / 1e9:.1f} GB free"
    if problem:
        return warning(name, f"{value}, but {existing} is not writable: {problem}", elsewhere)
    if free_bytes < LEAST_FREE_BYTES:
        return warning(name, value, "free some space: a video takes up to 1 MB a second, MuseTalk's weights 3.9 GB")
    return ok(name, value)


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists. Raises OSError where that cannot be known."""
    for each in (folder, *folder.parents):
        if each.is_dir():
            return each
        if each.exists():
            raise NotADirectoryError(f"{each} is no folder")
    raise FileNotFoundError(f"nothing exists of {folder}")


def _why_unwritable(folder: Path) -> str:
    """Empty when a file can be made there. Asking for the rights alone is wrong for root and for network drives."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return system_words(error)
