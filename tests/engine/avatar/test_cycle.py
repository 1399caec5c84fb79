"""Which avatar frame serves which output frame."""

from __future__ import annotations

from fractions import Fraction

import pytest

from musetalk_cli.engine.avatar.cycle import avatar_frame, cycle_index, double_turn_index


@pytest.mark.parametrize(
    ("num_frames", "cycle", "double_turns"),
    [
        (1, [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]),
        (2, [0, 1, 0, 1, 0, 1], [0, 1, 1, 0, 0, 1]),
        (3, [0, 1, 2, 1, 0, 1, 2, 1, 0], [0, 1, 2, 2, 1, 0, 0, 1, 2]),
        (4, [0, 1, 2, 3, 2, 1, 0, 1], [0, 1, 2, 3, 3, 2, 1, 0, 0, 1]),
    ],
)
def test_it_runs_forward_and_back(num_frames: int, cycle: list[int], double_turns: list[int]) -> None:
    assert [cycle_index(step, num_frames) for step in range(len(cycle))] == cycle
    assert [double_turn_index(step, num_frames) for step in range(len(double_turns))] == double_turns


def test_an_avatar_of_another_rate_keeps_its_own_pace() -> None:
    def shown(frame_rate: Fraction, avatar_rate: Fraction) -> list[int]:
        return [avatar_frame(frame, frame_rate, avatar_rate, 100) for frame in range(8)]

    assert shown(Fraction(25), Fraction(25)) == [0, 1, 2, 3, 4, 5, 6, 7]
    assert shown(Fraction(25), Fraction(50)) == [0, 2, 4, 6, 8, 10, 12, 14]
    assert shown(Fraction(50), Fraction(25)) == [0, 1, 1, 2, 2, 3, 3, 4], "of two equally near, the later one"
    assert shown(Fraction(30), Fraction(24)) == [0, 1, 2, 2, 3, 4, 5, 6]


def test_days_later_it_has_not_drifted() -> None:
    rate, days = Fraction(30_000, 1001), 3 * 24 * 3600 * 30
    assert avatar_frame(days, rate, rate, 1_000_000_000) == days
    assert avatar_frame(days, rate, Fraction(25), 10**9) == int(Fraction(days) / rate * 25 + Fraction(1, 2))


def test_a_still_has_one_frame_and_a_cycle_may_be_another() -> None:
    assert avatar_frame(17, Fraction(25), None, 1) == 0
    assert [avatar_frame(frame, Fraction(25), Fraction(25), 2, double_turn_index) for frame in range(5)] == [
        *(0, 1, 1, 0, 0)
    ]
