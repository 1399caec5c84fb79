"""Copies of stored files on the machine that renders: what an address names comes before, and goes there afterwards."""

from __future__ import annotations

import shutil
import tempfile
import threading
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from musetalk_cli.app.batch.item import BatchItem
from musetalk_cli.app.batch.storage import download, is_stored, upload


class LocalCopies:
    """A folder of copies. Avatars stay in it, each downloaded once; voices and videos go with their items."""

    def __init__(self) -> None:
        self._folder: Path | None = None  # made with the first copy
        self._lock = threading.Lock()
        self._making = threading.Lock()
        self._avatars: dict[str, Path] = {}

    def of(self, item: BatchItem) -> ItemCopies:
        """The copies of one item, removed when the block is left."""
        return ItemCopies(item, self)

    def new_folder(self) -> Path:
        with self._making:
            self._folder = self._folder or Path(tempfile.mkdtemp(prefix="musetalk-copies-"))
        return Path(tempfile.mkdtemp(dir=self._folder))

    def close(self) -> None:
        """Remove all copies."""
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def avatar(self, name: str) -> Path:
        """Where an avatar's copy is: an image, a video or a prepared folder. Raises SourceError."""
        with self._lock:
            if name not in self._avatars:
                path = self.new_folder() / name.rstrip("/").rpartition("/")[2]
                download(name, path)
                self._avatars[name] = path
            return self._avatars[name]


class ItemCopies:
    """What of one item is copied."""

    def __init__(self, item: BatchItem, copies: LocalCopies) -> None:
        self._item = item
        self._copies = copies
        self._folder: Path | None = None

    def __enter__(self) -> ItemCopies:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def fetch(self) -> BatchItem:
        """The item with local paths instead of what is stored. Raises SourceError."""
        item = self._item
        avatar = item.config.avatar
        config = replace(item.config, avatar=str(self._copies.avatar(avatar))) if is_stored(avatar) else item.config
        voice, output = item.voice, item.output
        if is_stored(voice):
            voice = str(self._place("voice", voice))
            download(item.voice, Path(voice))
        if is_stored(output):
            output = str(self._place("video", output))
        return replace(item, voice=voice, output=output, config=config)

    def deliver(self, local: BatchItem) -> None:
        """Upload the video where it is stored. Raises SinkError."""
        if is_stored(self._item.output):
            upload(Path(local.output), self._item.output)

    def _place(self, kind: str, name: str) -> Path:
        self._folder = self._folder or self._copies.new_folder()
        (self._folder / kind).mkdir()
        return self._folder / kind / name.rpartition("/")[2]
