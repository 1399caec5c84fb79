"""Which frames a slow model is spared, to the frame."""

from __future__ import annotations

import pytest

from musetalk_cli.engine.live.overload import Overload, OverloadPolicy
from musetalk_cli.engine.runtime.stats import OverloadCounts

LATE_S = 0.5


@pytest.mark.parametrize("policy", ["hold", "idle"])
def test_frames_are_left_out_beyond_the_tolerance(policy: OverloadPolicy) -> None:
    overload = Overload(policy, LATE_S)
    assert overload.choose(3, LATE_S) == [True] * 3
    assert overload.choose(3, LATE_S + 0.001) == [False] * 3
    assert overload.choose(2, -1.0) == [True] * 2
    assert overload.counts == OverloadCounts(num_held=3 * (policy == "hold"), num_idle=3 * (policy == "idle"))


@pytest.mark.parametrize("policy", ["hold", "idle", "skip"])
def test_a_block_is_left_out_beyond_twice_the_tolerance(policy: OverloadPolicy) -> None:
    overload = Overload(policy, LATE_S)
    assert not overload.leave_out(10, 2 * LATE_S)
    assert overload.leave_out(10, 2 * LATE_S + 0.001)
    counts = overload.counts
    assert {"hold": counts.num_held, "idle": counts.num_idle, "skip": counts.num_skipped}[policy] == 10
    assert counts.num_held + counts.num_idle + counts.num_skipped == 10


def share_after(overload: Overload, num_calls: int, lag_s: float) -> float:
    """The share of the frames that ``skip`` makes after so many batches that were this late."""
    for _ in range(num_calls):
        overload.choose(0, lag_s)
    return sum(overload.choose(10_000, 0.3 * LATE_S)) / 10_000  # neither late nor early: the share stays


def test_skip_thins_out_by_a_tenth_while_it_is_late_down_to_a_tenth() -> None:
    assert share_after(Overload("skip", LATE_S), 0, 0.0) == 1.0
    assert share_after(Overload("skip", LATE_S), 1, 0.51 * LATE_S) == pytest.approx(0.9, abs=2e-4)
    assert share_after(Overload("skip", LATE_S), 5, 0.51 * LATE_S) == pytest.approx(0.9**5, abs=2e-4)
    assert share_after(Overload("skip", LATE_S), 5, 0.49 * LATE_S) == 1.0
    assert share_after(Overload("skip", LATE_S), 500, LATE_S) == pytest.approx(0.1, abs=2e-4)


def test_skip_comes_back_in_smaller_steps_when_it_is_early() -> None:
    overload = Overload("skip", LATE_S)
    low = share_after(overload, 10, LATE_S)
    assert share_after(overload, 3, 0.26 * LATE_S) == pytest.approx(low, abs=4e-4)
    assert share_after(overload, 3, 0.24 * LATE_S) == pytest.approx(low * 1.03**3, abs=4e-4)
    assert share_after(overload, 500, 0.0) == 1.0


def test_skip_spreads_what_it_makes() -> None:
    overload = Overload("skip", LATE_S)
    for _ in range(7):  # 0.9 ** 7 is 0.478: every other frame, and now and then one less
        overload.choose(0, LATE_S)
    wanted = overload.choose(20, 0.3 * LATE_S)
    assert 9 <= sum(wanted) <= 10
    gaps = "".join("x" if is_made else "." for is_made in wanted).split("x")
    assert {len(gap) for gap in gaps[1:-1]} <= {1, 2}
    assert overload.counts.num_skipped == wanted.count(False)


def test_skip_makes_nothing_beyond_twice_the_tolerance() -> None:
    overload = Overload("skip", LATE_S)
    assert overload.choose(4, 2 * LATE_S) == [False, True, True, True]
    assert overload.choose(4, 2 * LATE_S + 0.001) == [False] * 4
