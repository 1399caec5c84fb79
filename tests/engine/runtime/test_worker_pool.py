"""Batches that are made at the same time: their order, their errors, and what an abort drops."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

import pytest

from musetalk_cli.engine.runtime.stage import Aborted, RunState
from musetalk_cli.engine.runtime.worker_pool import WorkerPool


def test_results_come_in_the_order_of_the_work() -> None:
    first_may_end = threading.Event()

    def make(number: int) -> int:
        if number:
            first_may_end.set()
        else:
            first_may_end.wait(10)
        return -number

    pool: WorkerPool[int, int] = WorkerPool(make, 2, RunState())
    for number in range(4):
        pool.submit(number)
    pool.finish()
    assert list(pool.results()) == [0, -1, -2, -3]
    pool.close()


def test_an_error_is_raised_in_its_turn() -> None:
    def make(number: int) -> int:
        if number == 1:
            raise ValueError("cannot make 1")
        return number

    pool: WorkerPool[int, int] = WorkerPool(make, 2, RunState())
    for number in range(3):
        pool.submit(number)
    results = pool.results()
    assert next(results) == 0
    with pytest.raises(ValueError, match="cannot make 1"):
        next(results)
    pool.close()


def test_closing_drops_what_has_not_begun_and_waits_for_what_has() -> None:
    begun, may_end, made = threading.Event(), threading.Event(), list[int]()

    def make(number: int) -> None:
        begun.set()
        may_end.wait(10)
        made.append(number)

    pool: WorkerPool[int, None] = WorkerPool(make, 1, RunState())
    pool.submit(0)
    pool.submit(1)
    assert begun.wait(10)
    closer = threading.Thread(target=pool.close)
    closer.start()
    while not pool._executor._shutdown:
        time.sleep(0.001)
    with pytest.raises(Aborted):  # takes the executor's lock, behind the closer
        pool.submit(2)
    assert closer.is_alive()
    may_end.set()
    closer.join(10)
    assert made == [0]


def test_closing_does_not_wait_for_what_is_dropped_while_it_is_submitted(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, may_end, is_queued, may_go_on = (threading.Event() for _ in range(4))

    def make(number: int) -> None:
        begun.set()
        may_end.wait(10)

    def pause(future: Future[None], callback: Callable[[Future[None]], None]) -> None:
        is_queued.set()
        may_go_on.wait(10)
        add_done_callback(future, callback)

    pool: WorkerPool[int, None] = WorkerPool(make, 1, RunState())
    pool.submit(0)
    assert begun.wait(10)
    add_done_callback = Future.add_done_callback
    monkeypatch.setattr(Future, "add_done_callback", pause)
    submitter = threading.Thread(target=pool.submit, args=(1,))
    submitter.start()
    assert is_queued.wait(10)
    may_end.set()
    closer = threading.Thread(target=pool.close, daemon=True)
    closer.start()
    closer.join(5)
    may_go_on.set()
    submitter.join(10)
    assert not closer.is_alive()


def test_a_thread_that_the_system_does_not_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    pool: WorkerPool[int, int] = WorkerPool(lambda number: number, 2, RunState())
    with monkeypatch.context() as refusing, pytest.raises(RuntimeError, match="new thread"):
        refusing.setattr(threading.Thread, "start", refuse)
        pool.submit(0)
    pool.close()
    with pytest.raises(Aborted):
        pool.submit(1)
