"""Sessions go where the largest share is free; who was sent there and has not come yet counts, for a while."""

from __future__ import annotations

import pytest

from musetalk_cli.serve.cluster.placement import PENDING_S, Awaited, Load, choose


def test_the_largest_free_share_wins() -> None:
    small, large = Load(2), Load(8)
    sent = []
    for _ in range(10):
        chosen = choose([small, large], 0.0)
        assert chosen is not None
        chosen.expect(0.0)
        sent.append(chosen)
    assert (sent.count(small), sent.count(large)) == (2, 8)
    assert choose([small, large], 0.0) is None
    assert choose([], 0.0) is None


def test_who_has_come_is_not_counted_twice() -> None:
    load = Load(4)
    load.expect(0.0)
    load.expect(0.1)
    assert load.num_taken(0.2) == 2
    load.note(1, 1)
    assert load.num_taken(0.3) == 2
    load.note(2, 2)
    assert load.num_taken(0.4) == 2
    load.note(1, 2)  # one has ended
    assert load.num_taken(0.5) == 1


def test_who_never_comes_is_forgotten() -> None:
    load = Load(1)
    load.expect(0.0)
    assert load.num_taken(PENDING_S) == 1
    assert load.num_taken(PENDING_S + 0.1) == 0
    assert load.free_share(PENDING_S + 0.1) == 1.0


@pytest.mark.parametrize("num_sessions", [3, 9])
def test_more_than_its_sessions_leave_no_share(num_sessions: int) -> None:
    load = Load(3, num_sessions)  # clients that came by themselves
    assert load.free_share(0.0) == 0.0
    assert choose([load], 0.0) is None


def test_one_client_is_awaited_a_few_times_only() -> None:
    awaited, first, second = Awaited(2), Load(4), Load(4)
    awaited.send("10.0.0.9", first, 0.0)
    for now_s in (0.1, 0.2, 0.3):
        awaited.send("10.0.0.9", second, now_s)
    awaited.send("10.0.0.8", first, 0.4)
    assert (first.num_taken(0.5), second.num_taken(0.5)) == (1, 2)
    for _ in range(3):
        awaited.send(None, first, 0.6)
    assert first.num_taken(0.7) == 4


def test_whom_a_machine_opens_later_is_awaited_still() -> None:
    load = Load(9)
    for _ in range(4):
        load.expect(0.0)
    load.note(1, 1)
    load.note(2, 2)
    assert load.num_taken(0.1) == 2 + 2


def test_a_client_that_comes_again_is_remembered_as_long_as_its_last_place() -> None:
    awaited, load = Awaited(2), Load(9)
    awaited.send("10.0.0.9", load, 0.0)
    awaited.send("10.0.0.9", load, 1.0)
    awaited.send("10.0.0.8", load, 1.0 + PENDING_S)
    assert load.num_taken(1.0 + PENDING_S) == 2
    awaited.send("10.0.0.9", load, 1.0 + PENDING_S)
    awaited.send("10.0.0.9", load, 1.0 + PENDING_S)
    assert load.num_taken(1.0 + PENDING_S) == 3
