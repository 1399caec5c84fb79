"""What a run takes of the machine, its children included."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from musetalk_cli.engine.runtime import usage
from musetalk_cli.engine.runtime.usage import UsageMeter, find_family

HOLD = "import sys; held = bytearray(100_000_000); print('held', flush=True); sys.stdin.read()"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the meter's clock on by so many seconds."""
    now = [time.monotonic()]
    monkeypatch.setattr(usage.time, "monotonic", lambda: now[0])

    def advance(seconds: float) -> None:
        now[0] += seconds

    return advance


def test_a_child_counts_in_while_it_runs(clock: Callable[[float], None]) -> None:
    meter = UsageMeter()
    alone = meter.read()
    with subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout and child.stdout.readline()
        assert meter.read() is alone  # less than a second ago
        clock(usage.CHILDREN_S)
        assert meter.read().rss_mb > alone.rss_mb + 90
        child.communicate()
    clock(usage.SAMPLE_S)
    assert meter.read().rss_mb < alone.rss_mb + 90


def test_cpu_is_what_was_spent_between_two_reads(clock: Callable[[float], None]) -> None:
    meter = UsageMeter()
    meter.read()
    before_s = time.process_time()
    while time.process_time() - before_s < 0.1:
        pass
    clock(10.0)
    assert 0.8 <= meter.read().cpu_percent < 10  # 0.1 s of 10 s in ticks of 10 ms, and what else this process does


def test_a_file_that_is_opened_counts(clock: Callable[[float], None]) -> None:
    meter = UsageMeter()
    before = meter.read().num_files
    with open("/dev/null"):  # noqa: PTH123 - a descriptor is meant
        clock(usage.SAMPLE_S)
        assert meter.read().num_files == before + 1


def test_a_family_is_a_process_and_its_children() -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout and child.stdout.readline()
        assert child.pid in [process.pid for process in find_family()[1:]]
        assert find_family(child.pid)[0].pid == child.pid
        child.communicate()
