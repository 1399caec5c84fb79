"""The thread that runs shared batches: many callers, errors, cancellation, its end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest

from musetalk_cli.engine.runtime.batch_scheduler import BatchScheduler
from musetalk_cli.engine.types.messages import Deadline
from musetalk_cli.errors import ModelError

WAIT_S = 20.0


class Device:
    """Squares numbers, notes the batches, and can be held before each of them."""

    def __init__(self, *, is_held: bool = False) -> None:
        self.batches: list[list[int]] = []
        self.is_busy = threading.Semaphore(0)  # one for each batch that has begun
        self.may_go = threading.Event()
        if not is_held:
            self.may_go.set()

    def run(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        self.is_busy.release()
        assert self.may_go.wait(WAIT_S)
        if any(item < 0 for item in items):
            raise ValueError("a negative number")
        return [item * item for item in items]


Make = Callable[..., BatchScheduler[int, int]]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[tuple[Device, BatchScheduler[int, int]]] = []

    def make_it(device: Device, max_batch: int = 4, **options: float) -> BatchScheduler[int, int]:
        scheduler = BatchScheduler[int, int](device.run, max_batch, **options)
        made.append((device, scheduler))
        return scheduler

    yield make_it
    for device, scheduler in made:
        device.may_go.set()
        scheduler.close()


def held(make: Make, max_batch: int = 4) -> tuple[Device, BatchScheduler[int, int]]:
    """A device in the middle of a batch of one."""
    device = Device(is_held=True)
    scheduler = make(device, max_batch)
    scheduler.submit("first", [1])
    assert device.is_busy.acquire(timeout=WAIT_S)
    return device, scheduler


def test_each_item_has_its_own_result(make: Make) -> None:
    scheduler = make(Device())
    assert [future.result(WAIT_S) for future in scheduler.submit("a", [1, 2, 3])] == [1, 4, 9]
    assert scheduler.submit("a", []) == []


def test_callers_share_batches(make: Make) -> None:
    device, scheduler = held(make)
    futures = [scheduler.submit(caller, [10 * caller, 10 * caller + 1])[0] for caller in (1, 2, 3)]
    device.may_go.set()
    assert [future.result(WAIT_S) for future in futures] == [100, 400, 900]
    assert sorted(number for batch in device.batches for number in batch) == [1, 10, 11, 20, 21, 30, 31]
    assert max(map(len, device.batches)) == 4


def test_what_is_due_sooner_overtakes_a_backlog(make: Make) -> None:
    device, scheduler = held(make, max_batch=2)
    backlog = scheduler.submit("file", list(range(10, 20)))
    urgent = scheduler.submit("session", [2, 3], Deadline(0.0, lambda: True))
    device.may_go.set()
    assert [future.result(WAIT_S) for future in urgent] == [4, 9]
    assert [future.result(WAIT_S) for future in backlog] == [number**2 for number in range(10, 20)]
    assert device.batches[1] == [2, 3]


def test_many_threads_get_their_own_results(make: Make) -> None:
    device = Device()
    scheduler = make(device)

    def ask(caller: int) -> list[int]:
        return [
            future.result(WAIT_S)
            for start in range(0, 40, 4)
            for future in scheduler.submit(caller, [100 * caller + start + offset for offset in range(4)])
        ]

    with ThreadPoolExecutor(5) as pool:
        found = list(pool.map(ask, range(5)))
    assert found == [[(100 * caller + number) ** 2 for number in range(40)] for caller in range(5)]
    assert max(map(len, device.batches)) <= 4


def test_one_bad_item_fails_alone(make: Make) -> None:
    device, scheduler = held(make)
    good, bad = scheduler.submit("good", [2, 3]), scheduler.submit("bad", [-1, 4])
    device.may_go.set()
    assert [future.result(WAIT_S) for future in good] == [4, 9]
    assert bad[1].result(WAIT_S) == 16
    with pytest.raises(ValueError, match="negative"):
        bad[0].result(WAIT_S)
    assert scheduler.submit("good", [5])[0].result(WAIT_S) == 25


def test_a_device_that_gives_too_few_results_is_an_error(make: Make) -> None:
    scheduler = BatchScheduler[int, int](lambda items: [], 4)
    with pytest.raises(ValueError, match="shorter"):
        scheduler.submit("a", [1])[0].result(WAIT_S)
    scheduler.close()


def test_what_a_caller_gave_up_is_never_run(make: Make) -> None:
    device, scheduler = held(make)
    interrupted = threading.Event()
    unwanted = scheduler.submit("a", [2, 3], Deadline(0.0, lambda: not interrupted.is_set()))
    cancelled, kept = scheduler.submit("b", [4, 5])
    interrupted.set()
    cancelled.cancel()
    device.may_go.set()
    assert kept.result(WAIT_S) == 25
    for future in unwanted:
        with pytest.raises(CancelledError):
            future.result(WAIT_S)
    assert device.batches == [[1], [5]]


def test_closing_fails_what_waits_and_lets_the_batch_end(make: Make) -> None:
    device, scheduler = held(make)
    waiting = scheduler.submit("a", [2, 3])
    closing = threading.Thread(target=scheduler.close)
    closing.start()
    for future in waiting:
        with pytest.raises(ModelError, match="closed"):
            future.result(WAIT_S)
    device.may_go.set()
    closing.join(WAIT_S)
    assert not closing.is_alive()
    assert device.batches == [[1]]
    with pytest.raises(ModelError, match="closed"):
        scheduler.submit("a", [4])
    scheduler.close()


def test_the_thread_ends_when_there_is_nothing_to_do_and_comes_back(make: Make) -> None:
    scheduler = make(Device(), idle_s=0.01)
    for number in range(3):
        assert scheduler.submit("a", [number])[0].result(WAIT_S) == number**2
        for thread in threading.enumerate():
            if thread.name == "musetalk-batches":
                thread.join(WAIT_S)
        assert scheduler._thread is None


def test_a_thread_that_the_system_does_not_start_fails_one_call_only(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    device = Device()
    scheduler = make(device)
    with monkeypatch.context() as refusing, pytest.raises(RuntimeError, match="new thread"):
        refusing.setattr(threading.Thread, "start", refuse)
        scheduler.submit("a", [1])
    assert scheduler.submit("a", [2])[0].result(WAIT_S) == 4
    assert device.batches == [[2]]
