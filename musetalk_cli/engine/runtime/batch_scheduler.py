"""One thread runs the work of many callers in shared batches."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from typing import Generic

from musetalk_cli.engine.runtime.batch_queue import BatchQueue, Item, QueuedItem, Result
from musetalk_cli.engine.types.messages import Deadline
from musetalk_cli.errors import ModelError

IDLE_S = 0.5  # the thread ends when nothing was submitted for so long, and the next item starts another


class BatchScheduler(Generic[Item, Result]):
    """Calls ``run`` with batches of items of all callers, as ``BatchQueue`` chooses them. Any thread may submit.

    ``run`` gives a result for each item. Where it raises, the batch's items are run one by one, so that only those
    that fail alone fail.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Sequence[Result]],
        max_batch: int,
        *,
        now: Callable[[], float] = time.monotonic,
        idle_s: float = IDLE_S,
    ) -> None:
        """Start nothing yet: the thread lives while there is something to do.

        Args:
            run: computes a batch; one call at a time.
            max_batch: the largest batch.
            now: the clock of the deadlines, in seconds.
            idle_s: how long the thread waits for more work before it ends.
        """
        self._run_items = run
        self._now = now
        self._idle_s = idle_s
        self._queue: BatchQueue[Item, Result] = BatchQueue(max_batch)
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def submit(self, caller: Hashable, items: Sequence[Item], deadline: Deadline | None = None) -> list[Future[Result]]:
        """Queue the items of one call, and return a future for each.

        A future is cancelled when its deadline's ``is_wanted`` says False before the item is run; the caller may
        cancel it, too. Raises ModelError after ``close``, RuntimeError where the system starts no thread.
        """
        with self._changed:
            if self._is_closed:
                raise _closed()
            if self._thread is None:
                thread = threading.Thread(target=self._work, name="musetalk-batches", daemon=True)
                thread.start()  # it waits for us; where it cannot be started, the next call tries again
                self._thread = thread
            futures = self._queue.add(caller, items, deadline, self._now())
            self._changed.notify_all()
        return futures

    def close(self) -> None:
        """Fail whatever waits, and return when the batch that runs is done. Twice is once; any thread may."""
        with self._changed:
            self._is_closed = True
            thread, futures = self._thread, self._queue.clear()
            self._changed.notify_all()
        for future in futures:
            _finish(future, _closed())
        if thread:
            thread.join()

    def _work(self) -> None:
        while batch := self._next_batch():
            started = self._now()
            is_whole = self._run(batch)
            ended = self._now()
            with self._changed:
                self._queue.note_served(batch, ended, ended - started if is_whole else None)

    def _next_batch(self) -> Sequence[QueuedItem[Item, Result]]:
        """Wait for a batch; empty when the thread should end."""
        with self._changed:
            while True:
                choice = self._queue.choose(self._now())
                if choice.batch:
                    return choice.batch
                is_idle = choice.wait_s is None
                if self._is_closed or (not self._changed.wait(self._idle_s if is_idle else choice.wait_s) and is_idle):
                    self._thread = None
                    return ()

    def _run(self, batch: Sequence[QueuedItem[Item, Result]]) -> bool:
        """Run a batch. False where that took several calls."""
        batch = [each for each in batch if each.future.set_running_or_notify_cancel()]
        if self._try(batch, is_last=len(batch) == 1):
            return True
        for each in batch:
            self._try([each], is_last=True)
        return False

    def _try(self, batch: Sequence[QueuedItem[Item, Result]], *, is_last: bool) -> bool:
        """Whether the futures have their results, or, if this was the last attempt, the error."""
        try:
            results = self._run_items([each.item for each in batch]) if batch else ()
            pairs = list(zip(batch, results, strict=True))
        except BaseException as error:  # whatever it is, it belongs to the caller
            if is_last:
                batch[0].future.set_exception(error)
            return is_last
        for each, result in pairs:
            each.future.set_result(result)
        return True


def _finish(future: Future[Result], error: Exception) -> None:
    if future.set_running_or_notify_cancel():
        future.set_exception(error)


def _closed() -> ModelError:
    return ModelError("the model was closed while faces were wanted of it")
