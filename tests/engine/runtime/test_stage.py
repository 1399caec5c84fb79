from __future__ import annotations

import threading
import time

import pytest

from musetalk_cli.engine.runtime.stage import Aborted, Channel, RunState, Stage
from musetalk_cli.engine.runtime.timing import StageTimer
from musetalk_cli.engine.runtime.worker_pool import WorkerPool
from musetalk_cli.errors import SinkError, StageError


def test_a_channel_keeps_order_and_ends() -> None:
    channel: Channel[int] = Channel("numbers", 2, RunState())
    feeder = threading.Thread(target=lambda: ([channel.put(number) for number in range(9)], channel.finish()))
    feeder.start()
    assert list(channel) == list(range(9))
    feeder.join()


def test_a_full_channel_waits() -> None:
    channel: Channel[int] = Channel("numbers", 1, RunState())
    channel.put(1)
    feeder = threading.Thread(target=channel.put, args=(2,))
    feeder.start()
    feeder.join(0.1)
    assert feeder.is_alive()
    items = iter(channel)
    assert [next(items), next(items)] == [1, 2]
    feeder.join()


@pytest.mark.parametrize("is_reading", [True, False])
def test_an_abort_wakes_whoever_waits(is_reading: bool) -> None:
    state = RunState()
    channel: Channel[int] = Channel("numbers", 1, state)
    if not is_reading:
        channel.put(1)
    seen: list[type] = []

    def wait() -> None:
        try:
            next(iter(channel)) if is_reading else channel.put(2)
        except Aborted:
            seen.append(Aborted)

    thread = threading.Thread(target=wait)
    thread.start()
    state.abort()
    thread.join(5)
    assert seen == [Aborted]


def test_the_first_error_is_kept_and_a_bug_is_wrapped() -> None:
    state = RunState()
    bug = Stage("first", lambda: 1 // 0, state)
    bug.start()
    assert bug.join(5)
    state.fail("second", SinkError("later"))
    assert isinstance(state.error, StageError)
    assert "first stage: ZeroDivisionError" in str(state.error)
    assert isinstance(state.error.__cause__, ZeroDivisionError)


def test_callbacks_run_once() -> None:
    state, calls = RunState(), []
    state.on_abort(lambda: calls.append(1))
    state.abort()
    state.abort()
    assert calls == [1]


def test_workers_give_results_in_order() -> None:
    state = RunState()
    pool: WorkerPool[int, int] = WorkerPool(lambda number: (time.sleep((7 - number) / 100), number)[1], 4, state)

    def submit() -> None:
        for number in range(8):
            pool.submit(number)
        pool.finish()

    feeder = threading.Thread(target=submit)
    feeder.start()
    assert list(pool.results()) == list(range(8))
    feeder.join()
    pool.close()


def test_a_timer_counts_per_frame_and_rolls() -> None:
    timer = StageTimer()
    for _ in range(300):
        timer.add(0.1, 10)
    timer.add(5.0, 0)
    timing = timer.timing()
    assert timing.p50_ms == timing.p95_ms == pytest.approx(10)
    assert timing.busy_s == pytest.approx(35)
