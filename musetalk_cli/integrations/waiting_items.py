"""What follows a voice in a pipeline waits until that voice has been shown, and is dropped with it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from musetalk_cli import Frame, UtteranceFinished

T = TypeVar("T")
Place = tuple[int, float]  # an utterance's number, and seconds of it
ROUNDING_S = 1e-6


class WaitingItems(Generic[T]):
    """Items in their order, each behind the voice that was pushed before it."""

    def __init__(self) -> None:
        self._pushed: Place = (-1, math.inf)
        self._shown: Place = (-1, math.inf)
        self._items: deque[tuple[Place, T]] = deque()

    def note_push(self, utterance: int | None, duration_s: float) -> None:
        """So many seconds of voice were added to an utterance; None where an interruption dropped them."""
        if utterance is not None:
            before_s = self._pushed[1] if self._pushed[0] == utterance else 0.0
            self._pushed = (utterance, before_s + duration_s)

    def note_shown(self, item: object, frame_s: float) -> None:
        """An item of the session has been handed on; a frame takes ``frame_s`` seconds."""
        if isinstance(item, UtteranceFinished):
            self._shown = max(self._shown, (item.utterance, math.inf))
        elif isinstance(item, Frame) and item.utterance is not None:
            self._shown = max(self._shown, (item.utterance, item.position_s + frame_s + ROUNDING_S))

    def add(self, item: T) -> None:
        """Add an item behind all voice so far."""
        self._items.append((self._pushed, item))

    def take(self) -> T | None:
        """The first item, if all voice before it has been shown."""
        if self._items and self._items[0][0] <= self._shown:
            return self._items.popleft()[1]
        return None

    def interrupt(self, keeps: Callable[[T], bool] = lambda item: False) -> None:
        """No more of the voice will be shown; of the items behind it, only those that ``keeps`` names are left."""
        self._shown = max(self._shown, (self._pushed[0], math.inf))
        self._items = deque((place, item) for place, item in self._items if keeps(item))
