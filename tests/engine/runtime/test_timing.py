from __future__ import annotations

import pytest

from musetalk_cli.engine.runtime.timing import RATE_S, Rate


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
