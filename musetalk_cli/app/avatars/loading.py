"""Loads an avatar beside what else has to be loaded."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from musetalk_cli.engine.avatar.avatar import Avatar


class LoadingAvatar:
    """An avatar that is loaded, and resized for the output, on a thread of its own."""

    def __init__(self, load: Callable[[], Avatar], height_px: int) -> None:
        self._load, self._height_px = load, height_px
        self._loaded: Future[Avatar] = Future()
        Thread(target=self._run, name="musetalk-avatar", daemon=True).start()

    def wait(self) -> Avatar:
        """Raises what loading it raised."""
        return self._loaded.result()

    def close(self) -> None:
        """Wait for it, and release it."""
        with suppress(Exception):
            self.wait().close()

    def _run(self) -> None:
        try:
            avatar = self._load()
            avatar.resized(self._height_px)  # which it remembers
            self._loaded.set_result(avatar)
        except BaseException as error:  # of whoever waits
            self._loaded.set_exception(error)
