from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from musetalk_cli.benchmark.measurements import other_load
from musetalk_cli.benchmark.measurements.other_load import OtherLoad, describe_load, look_around

SPIN = "import sys, time\nsys.stdout.write('.')\nsys.stdout.flush()\nwhile time.process_time() < 600: pass"


def stand_in(monkeypatch: pytest.MonkeyPatch, all_s: list[float], us_s: list[float], now_s: list[float]) -> None:
    """What the three clocks say, from one call to the next."""
    monkeypatch.setattr(other_load, "_used_by_all", iter(all_s).__next__)
    monkeypatch.setattr(other_load, "_used_by_us", iter(us_s).__next__)
    monkeypatch.setattr(other_load.time, "perf_counter", iter(now_s).__next__)
    monkeypatch.setattr(other_load.time, "sleep", lambda duration_s: None)
    monkeypatch.setattr(psutil, "cpu_count", lambda: 4)


def test_our_own_work_is_no_load(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, [100.0, 140.0], [5.0, 45.0], [0.0, 10.0])
    assert OtherLoad().share() == 0


def test_others_are_measured_as_a_share_of_all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, [100.0, 140.0], [5.0, 25.0], [0.0, 10.0])
    assert OtherLoad().share() == pytest.approx(20 / 40)


@pytest.mark.parametrize(("used_s", "is_told"), [(0.1, False), (1.0, True)])
def test_a_busy_machine_is_told_of_beforehand(monkeypatch: pytest.MonkeyPatch, used_s: float, is_told: bool) -> None:
    stand_in(monkeypatch, [0.0, used_s], [0.0, 0.0], [0.0, 0.5])
    assert bool(look_around()) == is_told


def test_the_warning_has_the_figure() -> None:
    assert describe_load(0.1, "others take") == ""
    assert describe_load(0.42, "others take").startswith("warning: others take 42 % of the processors")


@pytest.fixture
def spinning() -> Iterator[subprocess.Popen[bytes]]:
    """A child that computes."""
    with subprocess.Popen([sys.executable, "-c", SPIN], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.read(1)
        yield child
        child.kill()


def test_children_count_as_ours(spinning: subprocess.Popen[bytes]) -> None:
    """By their own clocks, whether they still run or not."""
    before_s = other_load._used_by_us()
    child = psutil.Process(spinning.pid)
    while sum(child.cpu_times()[:2]) < 0.3:
        pass
    assert other_load._used_by_us() - before_s >= 0.2
    spinning.kill()
    spinning.wait()
    assert other_load._used_by_us() - before_s >= 0.2
