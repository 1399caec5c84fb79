"""Dropping what a source has said and nobody has shown: which reads came before, and which after."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable


@runtime_checkable
class Droppable(Protocol):
    """A source whose voice can be interrupted while its one reader goes on."""

    @property
    def is_stale(self) -> bool:
        """Whether what ``read`` returned last was said before the last ``drop``; for the reader."""

    def drop(self) -> None:
        """Forget what has been said and was not read yet; may be called from any thread."""


class Drops:
    """Tells the reads before a drop from those after it. One thread reads, any may drop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._num_drops = self._num_at_read = 0

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Inside, the reader takes what is there, without waiting."""
        with self._lock:
            self._num_at_read = self._num_drops
            yield

    @contextmanager
    def dropping(self) -> Iterator[None]:
        """Inside, what is there is thrown away."""
        with self._lock:
            self._num_drops += 1
            yield

    @property
    def is_stale(self) -> bool:
        return self._num_at_read != self._num_drops
