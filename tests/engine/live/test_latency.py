"""How long audio takes to its frame, by a clock of the test's own."""

from __future__ import annotations

from fractions import Fraction

import pytest

from musetalk_cli.engine.live.latency import LatencyLog


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def make_frames(log: LatencyLog, clock: Clock, took_s: list[float], first: int = 0) -> None:
    """Frame after frame: its audio comes, the features at once, the model takes its time, and it leaves."""
    for frame, seconds in enumerate(took_s, start=first):
        log.arrive(1_920)
        log.cut(range(frame, frame + 1))
        log.mark("features", range(frame, frame + 1))
        clock.now_s += seconds
        log.mark("model", range(frame, frame + 1))
        log.mark("composite", range(frame, frame + 1))
        log.leave(1)


def test_half_of_the_frames_and_the_slowest_of_twenty() -> None:
    clock = Clock()
    log = LatencyLog(Fraction(25), clock)
    assert log.figures().steps == {}
    make_frames(log, clock, [0.1] * 60 + [0.5] * 40)
    figures = log.figures()
    assert figures.steps["model"] == (pytest.approx(100.0), pytest.approx(500.0))
    assert figures.steps["features"] == figures.steps["encode"] == (0.0, 0.0)
    assert (figures.now_p50_s, figures.now_p95_s) == (pytest.approx(0.1), pytest.approx(0.5))
    assert (figures.run_p50_s, figures.run_p95_s) == (pytest.approx(0.1, abs=0.005), pytest.approx(0.5, abs=0.005))


def test_the_last_ten_seconds_and_the_whole_run() -> None:
    clock = Clock()
    log = LatencyLog(Fraction(25), clock)
    make_frames(log, clock, [0.4] * 600)
    make_frames(log, clock, [0.2] * 250, first=600)
    figures = log.figures()
    assert (figures.now_p50_s, figures.now_p95_s) == (pytest.approx(0.2), pytest.approx(0.2))
    assert figures.run_p50_s == pytest.approx(0.4, abs=0.005)


def test_frames_without_a_voice_have_no_latency() -> None:
    clock = Clock()
    log = LatencyLog(Fraction(25), clock)
    log.skip(range(10))
    log.leave(10)
    assert log.figures().steps == {}
    log.restart()
    clock.now_s = 50.0
    log.arrive(1_920)
    log.cut(range(1), offset=10)
    clock.now_s += 0.3
    for step in ("features", "model", "composite"):
        log.mark(step, range(10, 11))
    log.leave(1)
    assert log.figures().now_p50_s == pytest.approx(0.3)
