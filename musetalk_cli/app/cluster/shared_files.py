"""Files that every machine of a cluster reaches: by one path, in a folder that they share, or by an address."""

from __future__ import annotations

import contextlib
import secrets
from dataclasses import replace
from pathlib import Path

from musetalk_cli.app.batch.item import BatchItem
from musetalk_cli.app.batch.storage import is_stored
from musetalk_cli.app.settings.folders import avatars_folder
from musetalk_cli.configuration.schema import Config
from musetalk_cli.engine.types.addresses import is_address
from musetalk_cli.errors import ClusterError, system_words


class FolderMarker:
    """An empty file in the folder of videos, by which a machine shows that it has the same folder."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._path: Path | None = None

    def make(self) -> str:
        """Its absolute path; empty where the folder is stored."""
        if is_stored(self.folder):
            return ""
        if self._path is None:
            path = Path(self.folder).absolute() / f".musetalk-{secrets.token_hex(8)}"
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
            except OSError as error:
                reason = system_words(error)
                raise ClusterError(
                    f"cannot write to {self.folder}: {reason}", hint="choose another folder with -o"
                ) from None
            self._path = path
        return str(self._path)

    def remove(self) -> None:
        if self._path:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
            self._path = None


def with_absolute_paths(item: BatchItem) -> BatchItem:
    """The item with paths that mean the same on every machine, whatever the current folder of its workers is."""
    return replace(
        item, voice=_place(item.voice), output=_place(item.output), config=config_with_absolute_paths(item.config)
    )


def config_with_absolute_paths(config: Config) -> Config:
    """The settings with the avatar's and the folders' paths absolute."""
    return replace(
        config,
        avatar=place_avatar(config.avatar, config),
        avatar_dir=config.avatar_dir and _place(config.avatar_dir),
        face_models=config.face_models and _place(config.face_models),
    )


def place_avatar(name: str, config: Config) -> str:
    """A file or folder by its absolute path; the name of an avatar as it is."""
    from musetalk_cli.engine.avatar.portrait import portrait_names

    is_name = name in portrait_names() or (avatars_folder(config.avatar_dir) / name).is_dir()
    return _place(name) if not is_name and not is_address(name) and Path(name).exists() else name


def _place(name: str) -> str:
    return name if is_address(name) else str(Path(name).expanduser().absolute())
