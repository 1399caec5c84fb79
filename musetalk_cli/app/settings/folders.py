"""The user's folders: avatars and weights, and a cache that may be deleted at any time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from musetalk_cli.system.folders import cache_folder as user_cache_folder
from musetalk_cli.system.folders import data_folder, expand

if TYPE_CHECKING:
    from musetalk_cli.engine.weights.store import WeightStore


def home_folder() -> Path:
    """The folder named by MUSETALK_HOME, else the system's folder for a user's data."""
    return _named_home() or data_folder()


def avatars_folder(given: str | None) -> Path:
    """Where named avatars live: ``given``, else in the home folder."""
    return expand(given) if given else home_folder() / "avatars"


def weight_store() -> WeightStore:
    """The neural models' weights, in the home folder."""
    from musetalk_cli.engine.weights.store import WeightStore

    return WeightStore(home_folder())


def cache_folder() -> Path:
    """What can be made or downloaded again: in MUSETALK_HOME, else in the user's cache folder."""
    named = _named_home()
    return named / "cache" if named else user_cache_folder()


def ffmpeg_records() -> Path:
    """Which ffmpegs have shown that they work, see ``choose_ffmpeg``."""
    return cache_folder() / "ffmpeg"


def _named_home() -> Path | None:
    home = os.environ.get("MUSETALK_HOME")
    return expand(home) if home else None
