"""Sentences that threads of a run have for the user, until the main thread shows them."""

from __future__ import annotations

import threading
from collections import deque

MOST_WAITING = 100


class Notices:
    """A small mailbox; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._texts: deque[str] = deque(maxlen=MOST_WAITING)

    def add(self, text: str) -> None:
        with self._lock:
            self._texts.append(text)

    def take(self) -> list[str]:
        """What has come since the last call."""
        with self._lock:
            texts = list(self._texts)
            self._texts.clear()
        return texts
