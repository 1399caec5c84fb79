"""Hours of a stream in a moment: every clock is simulated."""

from __future__ import annotations

import random

import pytest

from musetalk_cli.engine.live.clock import PacingBudget, PacingSettings, StreamClock
from musetalk_cli.engine.live.overload import Overload

FILE = PacingSettings(head_s=2.32, lead_s=2.0, generation_speed=1.1, fill_rate=2.0 / 1.8, can_run_ahead=True)
MICROPHONE = PacingSettings(head_s=2.32, lead_s=2.0, generation_speed=1.1, fill_rate=2.0 / 1.8, can_run_ahead=False)
FRAME_S = 0.04


class Time:
    """Simulated monotonic seconds."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def release(time: Time, budget: PacingBudget, frame: int) -> float:
    """Wait until a frame may leave; the moment, in seconds of the simulated clock."""
    while wait_s := budget.release_wait_s(frame * FRAME_S):
        time.now_s += wait_s
    return time.now_s


def test_the_clock_runs_with_the_machine_until_told_otherwise() -> None:
    time = Time()
    clock = StreamClock(time)
    assert clock.read() == 0
    time.now_s += 5
    clock.start()
    time.now_s += 3
    assert clock.read() == pytest.approx(3)
    clock.pause(1)
    assert clock.read() == pytest.approx(2)


def test_a_lead_fills_at_the_senders_pace_and_then_follows_the_clock() -> None:
    time = Time()
    clock = StreamClock(time)
    budget = PacingBudget(clock, FILE)
    clock.start()
    left = [release(time, budget, frame) for frame in range(45_000)]  # half an hour
    first = left[0]
    assert left[500] - left[450] == pytest.approx(1.8), "a block of 2 s every 1.8 s"
    leads = [frame * FRAME_S - (at - first) for frame, at in enumerate(left)]
    assert leads[-1] == pytest.approx(max(leads)) == pytest.approx(2.0)
    assert leads[400] == pytest.approx(1.6)
    assert left[44_999] - left[44_949] == pytest.approx(2.0), "and then at the clock's own rate"


@pytest.mark.parametrize("ppm", [-200, 0, 200])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_file_neither_runs_away_nor_starves_a_player_for_hours(ppm: int, seed: int) -> None:
    """Generation jitters by 5 % and stands still for 0.6 s in one block of a hundred; the player's crystal is off."""
    noise = random.Random(seed)
    time = Time()
    clock = StreamClock(time)
    budget = PacingBudget(clock, FILE)
    clock.start()
    player_rate = 1 + ppm * 1e-6
    stalls, buffer_max, played_from = 0, 0.0, None
    for frame in range(2 * 3600 * 25):
        if frame % 50 == 0:
            while wait_s := budget.source_wait_s(frame * FRAME_S + FILE.head_s):
                time.now_s += wait_s
            time.now_s += max(0.0, noise.gauss(0.35, 0.02)) + (0.6 if noise.random() < 0.01 else 0.0)
        at = release(time, budget, frame)
        played_from = at if played_from is None else played_from
        played_s = (at - played_from) * player_rate
        buffer_s = frame * FRAME_S - played_s
        if buffer_s < 0:
            stalls += 1
            played_from = at - frame * FRAME_S / player_rate
        buffer_max = max(buffer_max, buffer_s)
    assert buffer_max < 2.0 + 2 * 3600 * 200e-6 + 0.2, "bounded: the lead, and what the player's crystal loses"
    assert budget.clock.read() - 2 * 3600 == pytest.approx(-2.0, abs=1.0), "the sender itself is on its clock"
    assert stalls <= 60, "at the start, and from a crystal that eats a lead of 2 s in 10,000 s"
    if ppm <= 0:
        assert stalls <= 2


def test_a_file_is_read_no_faster_than_its_generation_speed() -> None:
    time = Time()
    clock = StreamClock(time)
    budget = PacingBudget(clock, FILE)
    clock.start()
    assert budget.source_wait_s(2.32) == 0, "the first block may be read at once"
    assert budget.source_wait_s(2.32 + 1.1) == pytest.approx(1.0)
    time.now_s += 100
    assert budget.source_wait_s(100 + 2.32 + 2.0) == pytest.approx(0)
    assert budget.source_wait_s(100 + 2.32 + 3.0) == pytest.approx(1.0)


@pytest.mark.parametrize("ppm", [-200, 200])
def test_the_clock_follows_a_microphones_crystal_for_hours(ppm: int) -> None:
    noise = random.Random(ppm)
    time = Time()
    clock = StreamClock(time)
    clock.start()
    start_s, rate, errors = time.now_s, 1 + ppm * 1e-6, []
    for callback in range(1, 4 * 3600 * 50):  # 20 ms each, delivered with up to 30 ms of jitter
        position_s = callback * 0.02
        time.now_s = max(time.now_s, start_s + position_s / rate + noise.random() * 0.03)
        clock.follow(position_s)
        errors.append(clock.read() - position_s)
    late = errors[len(errors) // 2 :]
    assert max(late) - min(late) < 0.05, "jitter only"
    assert abs(sum(late[:1000]) / 1000 - sum(late[-1000:]) / 1000) < 0.002, "no drift between the second hour and now"


@pytest.mark.parametrize("jump_s", [-3600.0, -5.0, 5.0, 3600.0])
def test_a_source_that_jumps_bends_the_clock_by_half_a_percent(jump_s: float) -> None:
    time = Time()
    clock = StreamClock(time)
    clock.start()
    for _ in range(100):
        before_s = clock.read()
        clock.follow(before_s + jump_s)
        time.now_s += 0.1
        assert clock.read() - before_s == pytest.approx(0.1 * (1.005 if jump_s > 0 else 0.995))


def test_a_microphone_is_never_held_back() -> None:
    time = Time()
    clock = StreamClock(time)
    budget = PacingBudget(clock, MICROPHONE)
    clock.start()
    assert budget.source_wait_s(1000) == 0
    assert budget.release_wait_s(0) == 0
    assert budget.release_wait_s(1000) == 0


def test_lag_is_counted_from_the_first_image() -> None:
    time = Time()
    clock = StreamClock(time)
    budget = PacingBudget(clock, MICROPHONE)
    clock.start()
    time.now_s += 2.5
    assert budget.lag_s(0) == 0
    budget.release_wait_s(0)
    time.now_s += 1.0
    assert budget.lag_s(0.4) == pytest.approx(0.6)
    assert budget.lag_s(1.4) == pytest.approx(-0.4)


def overloaded(policy: str, speed: float, minutes: float = 5) -> tuple[list[bool], list[float], Overload]:
    """Drive a policy with a model of ``speed`` × real time: which frames were made, and how late each batch began."""
    overload = Overload(policy, tolerance_s=0.5)  # type: ignore[arg-type]
    made, lags, now_s = [], [], 0.0
    for frame in range(0, int(minutes * 60 * 25), 4):
        now_s = max(now_s, frame * FRAME_S)  # audio comes at real time
        lag_s = now_s - frame * FRAME_S
        wanted = overload.choose(4, lag_s)
        now_s += sum(wanted) * FRAME_S / speed
        made += wanted
        lags.append(lag_s)
    return made, lags, overload


@pytest.mark.parametrize("policy", ["hold", "idle", "skip"])
def test_a_model_at_60_percent_of_real_time_never_falls_further_behind(policy: str) -> None:
    made, lags, overload = overloaded(policy, 0.6)
    assert max(lags) < 0.5 + 4 * FRAME_S / 0.6
    assert 0.5 < sum(made) / len(made) < 0.65
    left_out = len(made) - sum(made)
    counts = overload.counts
    assert (counts.num_held, counts.num_idle, counts.num_skipped) == tuple(
        left_out if policy == name else 0 for name in ("hold", "idle", "skip")
    )


def test_skip_is_even_where_hold_is_not() -> None:
    def longest_gap(made: list[bool]) -> int:
        return max(len(run) for run in "".join("1" if is_made else "0" for is_made in made[2500:]).split("1"))

    assert longest_gap(overloaded("skip", 0.6)[0]) <= 4
    assert longest_gap(overloaded("hold", 0.6)[0]) >= 4


@pytest.mark.parametrize("policy", ["hold", "idle", "skip"])
def test_a_fast_model_makes_every_frame(policy: str) -> None:
    made, lags, _ = overloaded(policy, 2.0)
    assert all(made)
    assert max(lags) == 0


def test_an_overload_that_ends_is_forgotten() -> None:
    overload = Overload("skip", tolerance_s=0.5)
    for _ in range(50):
        overload.choose(4, 0.4)
    assert not all(overload.choose(8, 0.4))
    for _ in range(200):
        overload.choose(4, 0.0)
    assert all(overload.choose(8, 0.0))
