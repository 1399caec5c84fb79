"""Which worker renders which item: where there is room, and what a lost worker had is given out again."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from musetalk_cli.app.batch.item import BatchItem

if TYPE_CHECKING:
    from musetalk_cli.engine.runtime.stats import Snapshot

# As often a worker may be lost over one item. What ends every process that renders it must not end them all.
MAX_LOST = 3


@dataclass(eq=False)
class Job:
    """An item, as it was given and as it is sent. ``num_lost``: workers that ended while they had it."""

    item: BatchItem
    sent: BatchItem
    num_lost: int = 0


@dataclass(eq=False)
class Hand:
    """A worker as it is seen from here. ``jobs``: what it has, by the call that renders it."""

    worker: Any
    is_ready: bool = False
    name: str = ""
    jobs: dict[Any, Job] = field(default_factory=dict)
    running: Mapping[str, Snapshot] = field(default_factory=dict)
    is_asked: bool = False  # for its figures

    @property
    def is_alone_with_one(self) -> bool:
        """Whether it has an item that others were lost over, which is rendered with no other beside it."""
        return any(job.num_lost for job in self.jobs.values())


class Jobs:
    """Items that wait, and workers that have room. No thread but one uses it."""

    def __init__(self, num_at_once: int) -> None:
        """``num_at_once``: items that one worker has."""
        self._num_at_once = num_at_once
        self._waiting = deque[Job]()
        self._lost = deque[Job]()
        self.hands: list[Hand] = []

    def add(self, job: Job) -> None:
        self._waiting.append(job)

    @property
    def num_waiting(self) -> int:
        """Items that nobody has."""
        return len(self._waiting) + len(self._lost)

    @property
    def num_running(self) -> int:
        """Items that workers have."""
        return sum(len(hand.jobs) for hand in self.hands)

    def lose(self, hand: Hand) -> list[Job]:
        """Forget a worker. Returns the items that are given up; its others are given out again."""
        self.hands.remove(hand)
        given_up = []
        for job in hand.jobs.values():
            job.num_lost += 1
            if job.num_lost >= MAX_LOST:
                given_up.append(job)
            else:
                self._lost.append(job)
        return given_up

    def give(self) -> Iterator[tuple[Hand, Job]]:
        """Workers and what each gets now; the caller adds it to the worker's jobs before it takes the next."""
        while found := self._next():
            yield found

    def _next(self) -> tuple[Hand, Job] | None:
        ready = sorted((hand for hand in self.hands if hand.is_ready), key=lambda hand: len(hand.jobs))
        if self._lost and ready:
            least = ready.pop(0)
            if not least.jobs:
                return least, self._lost.popleft()
            # It gets nothing new, so that it is free soon.
        with_room = (hand for hand in ready if len(hand.jobs) < self._num_at_once and not hand.is_alone_with_one)
        hand = next(with_room, None)
        return (hand, self._waiting.popleft()) if hand and self._waiting else None
