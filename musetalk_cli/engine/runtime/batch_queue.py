"""Which items of many callers share the next batch, and when it leaves. Nothing here waits or starts a thread."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from heapq import nsmallest
from math import inf
from typing import Generic, TypeVar

from musetalk_cli.engine.types.messages import Deadline

Item = TypeVar("Item")
Result = TypeVar("Result")

# How long a batch waits for a caller that has just been served and usually comes back that soon: the time to blend a
# few faces. Longer would cost a GPU more than a fuller batch gains.
JOIN_S = 0.004
# The weight of the last batch in the estimate of how long the next one of its size takes.
NEWEST_SHARE = 0.3


@dataclass(eq=False)
class QueuedItem(Generic[Item, Result]):
    """An item that waits. ``order``: what sorts it; ``due_at`` is infinite without hurry."""

    caller: Hashable
    item: Item
    due_at: float
    is_wanted: Callable[[], bool] | None
    future: Future[Result]
    order: tuple[float, int, int]


@dataclass(frozen=True)
class Choice(Generic[Item, Result]):
    """What to do now: run ``batch``; where it is empty, ask again after ``wait_s``, or when something was added."""

    batch: Sequence[QueuedItem[Item, Result]] = ()
    wait_s: float | None = None


@dataclass
class Caller:
    """``round``: of its last item. ``served_at``: when its last results were ready. ``gap_s``: from then on to its next
    items, the last time."""

    round: int = 0
    served_at: float = -inf
    gap_s: float = inf


class BatchQueue(Generic[Item, Result]):
    """Earliest deadline first; of equally urgent items, one of each caller in turn. One thread at a time.

    A batch holds as many items as still meet the most urgent deadline, at most ``max_batch``. Items that are late
    already shorten no batch, so that a device that is too slow runs full ones, and give way to those that would be late
    after another batch, all but one of them. Times are seconds of one clock.
    """

    def __init__(self, max_batch: int) -> None:
        self._max_batch = max_batch
        self._waiting: list[QueuedItem[Item, Result]] = []
        self._callers: dict[Hashable, Caller] = {}
        self._costs = BatchCosts()
        self._round = self._num_added = 0

    def add(
        self, caller: Hashable, items: Iterable[Item], deadline: Deadline | None, now: float
    ) -> list[Future[Result]]:
        """Queue items of one call. Without a deadline, they come behind all that have one."""
        known = self._callers.setdefault(caller, Caller())
        known.gap_s = now - known.served_at
        due_at, is_wanted = deadline or (inf, None)
        added = []
        for item in items:
            known.round = max(known.round, self._round) + 1
            self._num_added += 1
            order = (due_at, known.round, self._num_added)
            added.append(QueuedItem[Item, Result](caller, item, due_at, is_wanted, Future(), order))
        self._waiting += added
        return [each.future for each in added]

    def choose(self, now: float) -> Choice[Item, Result]:
        """The next batch, which leaves the queue. Futures of items that nobody wants any more are cancelled."""
        self._drop_unwanted()
        if not self._waiting:
            return Choice()
        batch = self._fill(now)
        if len(batch) == len(self._waiting) < self._max_batch:
            wait_s = self._join_s(batch, now)
            if wait_s > 0:
                return Choice(wait_s=wait_s)
        taken = set(map(id, batch))
        self._waiting = [each for each in self._waiting if id(each) not in taken]
        self._round = max(self._round, *(each.order[1] for each in batch))
        return Choice(batch)

    def note_served(self, batch: Sequence[QueuedItem[Item, Result]], now: float, took_s: float | None) -> None:
        """A batch is done; ``took_s`` None where that says nothing about others."""
        if took_s is not None:
            self._costs.note(len(batch), took_s)
        for each in batch:
            self._callers.setdefault(each.caller, Caller()).served_at = now
        # Whoever stays away longer than that is not waited for, so nothing needs to be known about them.
        busy = {each.caller for each in self._waiting}
        self._callers = {
            caller: known
            for caller, known in self._callers.items()
            if caller in busy or now - known.served_at <= JOIN_S
        }

    def clear(self) -> list[Future[Result]]:
        """Empty the queue: the futures of what waited."""
        futures = [each.future for each in self._waiting]
        self._waiting = []
        return futures

    def _drop_unwanted(self) -> None:
        for each in self._waiting:
            if each.is_wanted is not None and not each.is_wanted():
                each.future.cancel()
        self._waiting = [each for each in self._waiting if not each.future.cancelled()]

    def _fill(self, now: float) -> list[QueuedItem[Item, Result]]:
        first_end = now + self._costs.estimate(1)  # what is due sooner is late in any case
        last_start = first_end + self._costs.estimate(self._max_batch)  # what is due sooner cannot wait for a batch
        chosen = nsmallest(
            self._max_batch, self._waiting, key=lambda each: (not first_end <= each.due_at < last_start, each.order)
        )
        earliest = min(self._waiting, key=lambda each: each.order)
        if earliest not in chosen and len(chosen) > 1:
            chosen[-1] = earliest
        end_by = min((each.due_at for each in chosen if each.due_at >= first_end), default=inf)
        size = len(chosen)
        while size > 1 and now + self._costs.estimate(size) > end_by:
            size -= 1
        return chosen[:size]

    def _join_s(self, batch: Sequence[QueuedItem[Item, Result]], now: float) -> float:
        """How long to wait for callers that will be back in a moment; not longer than the deadlines allow."""
        present = {each.caller for each in batch}
        coming = [
            known.served_at + JOIN_S - now
            for caller, known in self._callers.items()
            if caller not in present and known.gap_s <= JOIN_S
        ]
        slack_s = min(each.due_at for each in batch) - now - self._costs.estimate(len(batch) + 1)
        return min(max(coming, default=0.0), slack_s)


class BatchCosts:
    """How long batches take, by their size: a running mean of those that were run, in seconds."""

    def __init__(self) -> None:
        self._means: dict[int, float] = {}

    def note(self, size: int, took_s: float) -> None:
        known = self._means.get(size, took_s)
        self._means[size] = known + NEWEST_SHARE * (took_s - known)

    def estimate(self, size: int) -> float:
        """Of a size that was not run yet: in proportion to the next larger one, or the largest; 0 without any."""
        if not self._means:
            return 0.0
        known = min((each for each in self._means if each >= size), default=max(self._means))
        return self._means[known] * size / known
