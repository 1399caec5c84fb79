"""The worker pool: several batches are made at the same time and come out in the order they went in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from musetalk_cli.engine.runtime.stage import Aborted, Channel, RunState

Work = TypeVar("Work")
Result = TypeVar("Result")

# Beyond one batch in every worker's hands: one that waits for each, so that nobody idles while an early batch is late.
BATCHES_PER_WORKER = 2


class WorkerPool(Generic[Work, Result]):
    """Runs ``make`` on threads; ``results`` gives what it returned, in the order of ``submit``.

    The queue of futures is the bound: ``submit`` waits when too many batches are under way.
    """

    def __init__(self, make: Callable[[Work], Result], num_workers: int, state: RunState) -> None:
        self._make = make
        self._executor = ThreadPoolExecutor(num_workers, thread_name_prefix="musetalk-worker")
        self._futures: Channel[Future[Result]] = Channel("batches", num_workers * BATCHES_PER_WORKER, state)

    def submit(self, work: Work) -> None:
        """Queue a batch. Raises Aborted."""
        try:
            future = self._executor.submit(self._make, work)
        except RuntimeError:  # closed meanwhile, which only an abort does
            raise Aborted("workers") from None
        self._futures.put(future)

    def finish(self) -> None:
        """Nothing more will be submitted."""
        self._futures.finish()

    def results(self) -> Iterator[Result]:
        """Yield the results in order. Raises what ``make`` raised, or Aborted."""
        for future in self._futures:
            yield future.result()

    def close(self) -> None:
        """Drop what has not begun, and wait for what has."""
        self._executor.shutdown(wait=True, cancel_futures=True)
