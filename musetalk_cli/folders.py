"""Where musetalk keeps what it makes for its user: avatars to keep, and a cache that may be deleted at any time."""

from __future__ import annotations

import os
from pathlib import Path


def avatars_folder(given: str | None) -> Path:
    """Where named avatars live: ``given``, else in MUSETALK_HOME, else in the user's data folder."""
    if given:
        return Path(given).expanduser()
    home = _home()
    if home:
        return home / "avatars"
    import platformdirs

    return platformdirs.user_data_path("musetalk", appauthor=False) / "avatars"


def cache_folder() -> Path:
    """Where things are kept that can be had again: in MUSETALK_HOME, else in the user's cache folder."""
    home = _home()
    if home:
        return home / "cache"
    import platformdirs

    return platformdirs.user_cache_path("musetalk", appauthor=False)


def _home() -> Path | None:
    home = os.environ.get("MUSETALK_HOME")
    return Path(home).expanduser() if home else None
