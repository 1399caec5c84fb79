from __future__ import annotations

import pytest

from musetalk_cli.engine.runtime.stats import Snapshot, StageTiming
from musetalk_cli.engine.runtime.timing import RATE_S, ROLLING_CALLS, Rate, StageTimer


def test_a_rate_is_that_of_the_last_seconds() -> None:
    now = [100.0]
    rate = Rate(lambda: now[0])
    assert rate.per_s() == 0.0
    for _ in range(300):  # a block of 25 frames every second
        rate.add(25)
        now[0] += 1.0
    assert rate.per_s() == pytest.approx(25.0, rel=0.11)  # the window's edge may cut a block off
    now[0] += RATE_S
    assert rate.per_s() == 0.0


def test_a_rate_counts_from_its_first_frame_on() -> None:
    now = [0.0]
    rate = Rate(lambda: now[0])
    for _ in range(8):
        rate.add(10)
        now[0] += 0.25
    assert rate.per_s() == pytest.approx(40.0)
    assert len(rate._counts) == 8


def test_a_rate_says_nothing_in_the_first_half_second() -> None:
    now = [5.0]
    rate = Rate(lambda: now[0])
    rate.add(10)
    now[0] += 0.5
    assert rate.per_s() == 0.0
    now[0] += 0.01
    assert rate.per_s() == pytest.approx(10 / 0.51)


def test_a_timer_has_the_recent_times_of_one_frame_and_all_that_it_was_busy() -> None:
    timer = StageTimer()
    assert timer.timing() == StageTiming(0.0, 0.0, 0.0)
    for number in range(1, 101):
        timer.add(number / 1000, num_frames=2)
    assert timer.timing().p50_ms == pytest.approx(51 / 2)
    assert timer.timing().p95_ms == pytest.approx(96 / 2)
    assert timer.timing().busy_s == pytest.approx(5.05)
    assert timer.timing().fps == pytest.approx(2000 / 51)
    timer.add(1.0, num_frames=0)
    assert timer.timing().p95_ms == pytest.approx(96 / 2), "without frames there is no time of one"
    assert timer.timing().busy_s == pytest.approx(6.05)
    for _ in range(ROLLING_CALLS):
        timer.add(0.008, num_frames=4)
    assert (timer.timing().p50_ms, timer.timing().p95_ms) == (pytest.approx(2.0), pytest.approx(2.0))


def test_a_timer_measures_its_body(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([10.0, 10.6])
    monkeypatch.setattr("musetalk_cli.engine.runtime.timing.time.perf_counter", lambda: next(moments))
    timer = StageTimer()
    with timer.measure(3):
        pass
    assert timer.timing().p50_ms == pytest.approx(200.0)
    assert timer.timing().busy_s == pytest.approx(0.6)


def test_a_record_is_rounded_and_leaves_out_a_clock_that_is_not_there() -> None:
    record = Snapshot(elapsed_s=1.23456, stages={"model": StageTiming(1.00004, 2.00006, 3.0)}).as_record()
    assert record["elapsed_s"] == 1.2346
    assert record["stages"] == {"model": {"p50_ms": 1.0, "p95_ms": 2.0001, "busy_s": 3.0}}
    assert "live" not in record
    assert record["total_s"] is None
