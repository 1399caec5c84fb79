"""Which items share a batch, by a clock that the tests set."""

from __future__ import annotations

import random
from math import inf

import pytest

from musetalk_cli.engine.runtime.batch_queue import JOIN_S, BatchCosts, BatchQueue, Choice
from musetalk_cli.engine.types.messages import Deadline

Queue = BatchQueue[str, str]


def due(at_s: float) -> Deadline:
    return Deadline(at_s, lambda: True)


def names(choice: Choice[str, str]) -> list[str]:
    return [each.item for each in choice.batch]


def knowing(max_batch: int, **costs_s: float) -> Queue:
    """A queue that has seen batches: ``_1=0.01`` for one of one item that took 10 ms."""
    queue = Queue(max_batch)
    for size, took_s in costs_s.items():
        count = int(size.removeprefix("_"))
        queue.add("warm-up", [""] * count, None, -10)
        queue.note_served(queue.choose(-10).batch, -10, took_s)
    queue.note_served((), -5, None)  # long ago
    return queue


def test_an_empty_queue_has_nothing_to_wait_for() -> None:
    assert Queue(4).choose(0) == Choice((), None)


def test_what_is_due_soonest_goes_first_from_whatever_caller() -> None:
    queue = Queue(3)
    queue.add("a", ["a1", "a2"], due(5), 0)
    queue.add("b", ["b1"], due(3), 0)
    queue.add("c", ["c1"], None, 0)
    queue.add("d", ["d1"], due(4), 0)
    assert names(queue.choose(0)) == ["b1", "d1", "a1"]
    assert names(queue.choose(0)) == ["a2", "c1"]


def test_callers_without_hurry_take_turns() -> None:
    queue = Queue(4)
    queue.add("file", [f"f{number}" for number in range(100)], None, 0)
    assert names(queue.choose(0)) == ["f0", "f1", "f2", "f3"]
    queue.add("other", ["o0", "o1", "o2"], None, 0)
    assert names(queue.choose(0)) == ["f4", "o0", "f5", "o1"], "who comes later has no turns to make up for"
    assert names(queue.choose(0)) == ["f6", "o2", "f7", "f8"]


def test_a_backlog_does_not_delay_what_is_due_sooner() -> None:
    queue = Queue(4)
    for number in range(50):
        queue.add("far ahead", [f"f{number}"], due(10 + number), 0)
    queue.add("session", ["s0", "s1"], due(1), 0)
    assert names(queue.choose(0)) == ["s0", "s1", "f0", "f1"]


def test_a_batch_is_no_larger_than_its_most_urgent_deadline_allows() -> None:
    queue = knowing(8, _1=0.01, _4=0.03, _8=0.05)
    queue.add("a", ["a"], due(0.031), 0)
    queue.add("b", [f"b{number}" for number in range(7)], due(1), 0)
    assert names(queue.choose(0)) == ["a", "b0", "b1", "b2"]
    assert len(names(queue.choose(0.03))) == 4


def test_late_items_shorten_no_batch() -> None:
    queue = knowing(4, _1=0.01, _4=0.03)
    queue.add("a", [f"a{number}" for number in range(6)], due(-1), 0)
    assert len(names(queue.choose(0))) == 4


def test_late_items_give_way_to_those_that_would_be_late_after_them() -> None:
    queue = knowing(4, _1=0.01, _4=0.03)
    queue.add("late", ["l0", "l1", "l2", "l3"], due(-1), 0)
    queue.add("in time", ["i0"], due(0.032), 0)
    queue.add("can wait", ["w0"], due(0.5), 0)
    assert names(queue.choose(0)) == ["i0", "l0", "l1", "l2"]
    assert names(queue.choose(0.03)) == ["l3", "w0"]


def test_late_items_are_not_starved_by_those_in_time() -> None:
    queue = knowing(4, _1=0.01, _4=0.03)
    queue.add("late", ["l0", "l1"], due(-1), 0)
    queue.add("in time", ["i0", "i1", "i2", "i3"], due(0.035), 0)
    assert names(queue.choose(0)) == ["i0", "i1", "i2", "l0"]


def test_a_batch_waits_for_who_will_be_back_in_a_moment() -> None:
    queue = Queue(4)
    for now in (0.0, 1.0):
        queue.add("a", ["a"], due(9), now)
        queue.add("b", ["b"], due(9), now)
        batch = queue.choose(now).batch
        assert len(batch) == 2
        queue.note_served(batch, now + 1 - JOIN_S / 2, 0.001)
    queue.add("a", ["a"], due(9), 2.0)
    assert queue.choose(2.0) == Choice((), pytest.approx(JOIN_S / 2)), "b was served just now, and came back soon"
    queue.add("b", ["b"], due(9), 2.0)
    assert names(queue.choose(2.0)) == ["a", "b"]


def test_a_batch_waits_neither_for_strangers_nor_beyond_its_deadline() -> None:
    def serve(queue: Queue, gap_s: float) -> None:
        for now in (0.0, 1.0):
            queue.add("b", ["b"], due(9), now)
            queue.note_served(queue.choose(now).batch, now + 1 - gap_s, 0.001)

    slow = Queue(4)
    serve(slow, 2 * JOIN_S)  # b takes its time
    slow.add("a", ["a"], due(9), 2.0)
    assert names(slow.choose(2.0)) == ["a"]
    urgent = Queue(4)
    serve(urgent, JOIN_S / 4)
    urgent.add("a", ["a"], due(2.0 + 0.003), 2.0)
    assert urgent.choose(2.0).wait_s == pytest.approx(0.001), "two items take 2 ms, as far as is known"
    assert names(urgent.choose(2.0015)) == ["a"]
    alone = Queue(4)
    serve(alone, JOIN_S / 4)
    alone.add("b", ["b"], due(9), 2.0)
    assert names(alone.choose(2.0)) == ["b"], "nobody else"


def test_what_nobody_wants_any_more_is_skipped() -> None:
    queue, wanted = Queue(4), {"a": True}
    asked = queue.add("a", ["a0", "a1"], Deadline(1, lambda: wanted["a"]), 0)
    kept = queue.add("b", ["b0", "b1"], due(2), 0)
    wanted["a"] = False
    kept[0].cancel()
    assert names(queue.choose(0)) == ["b1"]
    assert all(future.cancelled() for future in asked)
    assert queue.choose(0) == Choice((), None)


def test_no_deadline_is_missed_that_one_item_at_a_time_would_have_met() -> None:
    """Random loads on a device that takes 10 ms a batch and 2 ms an item."""

    def cost_s(size: int) -> float:
        return 0.01 + 0.002 * size

    draw = random.Random(1)
    for _ in range(200):
        queue = knowing(8, **{f"_{size}": cost_s(size) for size in range(1, 9)})
        dues = sorted(draw.uniform(0.012, 0.4) for _ in range(draw.randint(1, 20)))
        is_possible = all(at_s >= (place + 1) * cost_s(1) for place, at_s in enumerate(dues))
        for number, at_s in enumerate(dues):
            queue.add(number % 3, [str(at_s)], due(at_s), 0)
        now = 0.0
        while batch := queue.choose(now).batch:
            now += cost_s(len(batch))
            if is_possible:
                assert now <= min(each.due_at for each in batch) + 1e-9


def test_costs_are_known_by_size_and_guessed_in_proportion() -> None:
    costs = BatchCosts()
    assert costs.estimate(3) == 0.0
    costs.note(4, 0.04)
    assert [costs.estimate(size) for size in (1, 4, 8)] == pytest.approx([0.01, 0.04, 0.08])
    costs.note(1, 0.02)
    costs.note(4, 0.14)
    assert [costs.estimate(size) for size in (1, 4)] == pytest.approx([0.02, 0.07])


def test_callers_are_forgotten() -> None:
    queue = Queue(2)
    for number in range(50):
        queue.add(number, ["x"], None, number)
        queue.note_served(queue.choose(number).batch, number + 0.5, 0.5)
    assert len(queue._callers) == 1
    assert queue.clear() == []
    assert queue._costs.estimate(1) < inf
