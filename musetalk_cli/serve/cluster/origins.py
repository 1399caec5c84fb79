"""The origins of pages that a machine lets in: those of its settings, and the newest of those that it was told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

MAX_ORIGINS = 64  # that a machine was told; each name of the server that placed a page is one


class ToldOrigins:
    """What the server that places sessions has told a machine.

    It forgets them in the order in which they were told, and sooner than the machine, so that none is missing there.
    """

    def __init__(self, fixed: Iterable[str] = ()) -> None:
        self._fixed = frozenset(fixed)
        self._answers: dict[str, asyncio.Future[Any]] = {}

    def is_fixed(self, origin: str) -> bool:
        """Whether it is one of the machine's settings."""
        return origin in self._fixed

    def answer(self, origin: str) -> asyncio.Future[Any] | None:
        """The machine's answer, which may not have come yet; None where it must be told."""
        return self._answers.get(origin)

    def add(self, origin: str, answer: asyncio.Future[Any]) -> None:
        """The machine is being told."""
        while len(self._answers) >= MAX_ORIGINS // 2:
            del self._answers[next(iter(self._answers))]
        self._answers[origin] = answer

    def discard(self, origin: str) -> None:
        """The machine did not answer."""
        self._answers.pop(origin, None)
