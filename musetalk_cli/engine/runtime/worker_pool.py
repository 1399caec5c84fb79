"""The worker pool: several batches are made at the same time and come out in the order they went in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
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
        self._is_closed = False
        self._unfinished: set[Future[Result]] = set()
        self._futures: Channel[Future[Result]] = Channel("batches", num_workers * BATCHES_PER_WORKER, state)

    def submit(self, work: Work) -> None:
        """Queue a batch. Raises Aborted, or RuntimeError where the system starts no thread for it."""
        try:
            future = self._executor.submit(self._make, work)
        except RuntimeError:
            if self._is_closed:  # meanwhile, which only an abort does
                raise Aborted("workers") from None
            raise
        self._unfinished.add(future)
        future.add_done_callback(self._unfinished.discard)
        self._futures.put(future)

    def finish(self) -> None:
        """Nothing more will be submitted."""
        self._futures.finish()

    def cut(self) -> None:
        """Drop what has not begun, and what is submitted from now on; results that are there are not given out."""
        self._futures.cut()
        for future in list(self._unfinished):
            future.cancel()

    def results(self) -> Iterator[Result]:
        """Yield the results in order. Raises what ``make`` raised, or Aborted."""
        for future in self._futures:
            try:
                result = future.result()
            except CancelledError:
                raise Aborted("workers") from None
            yield result

    def close(self, timeout_s: float | None = None) -> bool:
        """Drop what has not begun, and wait for what has, no longer than ``timeout_s``; whether it has ended."""
        self._is_closed = True
        self._executor.shutdown(wait=timeout_s is None, cancel_futures=True)
        # One that is dropped while it is being submitted is still among them, and nobody would tell of its end.
        begun = [future for future in list(self._unfinished) if not future.cancelled()]
        return not wait(begun, timeout_s).not_done
