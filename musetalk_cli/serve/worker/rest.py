"""When nobody has spoken for a while, so that memory goes back to the system."""

from __future__ import annotations

import time
from collections.abc import Callable

REST_S = 1.0  # behind a voice's end, until what it took is free: its last frames, and what its features were made of
REST_MOST_S = 4.0  # between two rests: frames that are late are made several at once, and take more


class Rest:
    """Calls ``on_rest`` while nobody speaks: REST_S after the start and after each voice, and then after ever longer
    waits, up to REST_MOST_S."""

    def __init__(self, on_rest: Callable[[], None]) -> None:
        self._on_rest = on_rest
        self._last_finished = -1
        self._wait_s = REST_S
        self._due_at: float | None = time.monotonic() + REST_S

    def begin(self, utterance: int) -> None:
        """An utterance has come to its end, or was interrupted."""
        self._last_finished = max(self._last_finished, utterance)
        self._wait_s = REST_S
        self._due_at = time.monotonic() + REST_S

    def end(self, utterance: int) -> None:
        """An utterance begins; where it is interrupted at that moment, its end was told before."""
        if utterance > self._last_finished:
            self._due_at = None

    def check(self) -> None:
        """Call ``on_rest`` if it is time for that."""
        if self._due_at is not None and time.monotonic() >= self._due_at:
            self._on_rest()
            self._wait_s = min(2 * self._wait_s, REST_MOST_S)
            self._due_at = time.monotonic() + self._wait_s
