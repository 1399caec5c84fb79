"""What a run takes of the machine: its own process and its children."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

SAMPLE_S = 1.0


@dataclass(frozen=True)
class Usage:
    """``cpu_percent`` of one core (200: two cores busy), ``rss_mb`` resident memory, both with our ffmpegs; threads and
    open files of our own; ``gpu_mb`` what torch holds on all GPUs, None where it uses none."""

    cpu_percent: float
    rss_mb: float
    num_threads: int
    num_files: int
    gpu_mb: float | None

    def as_record(self) -> dict[str, float | None]:
        """A JSON-ready mapping with rounded figures."""
        return {name: None if value is None else round(value, 1) for name, value in asdict(self).items()}


class UsageMeter:
    """Measures at most once a second; in between, the last figures hold. Without /proc, those of our process alone."""

    def __init__(self) -> None:
        self._at = time.monotonic()
        self._cpu_s = _cpu_s(_family())
        self._last = self._measure(0.0)

    def read(self) -> Usage:
        now = time.monotonic()
        if now - self._at >= SAMPLE_S:
            cpu_s = _cpu_s(_family())
            self._last = self._measure(max(0.0, 100 * (cpu_s - self._cpu_s) / (now - self._at)))
            self._at, self._cpu_s = now, cpu_s
        return self._last

    def _measure(self, cpu_percent: float) -> Usage:
        rss_mb = sum(_rss_mb(pid) for pid in _family()) or _peak_rss_mb()
        return Usage(cpu_percent, rss_mb, _count("task"), _count("fd"), sum_gpu_mb("memory_reserved"))


def _family() -> list[int]:
    """Our process and its children."""
    children: set[int] = set()
    for task in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):  # the thread has ended meanwhile
            children |= {int(pid) for pid in task.read_text().split()}
    return [os.getpid(), *sorted(children)]


def _cpu_s(pids: list[int]) -> float:
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError, IndexError, ValueError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK") if ticks else time.process_time()


def _rss_mb(pid: int) -> float:
    with contextlib.suppress(OSError, IndexError, ValueError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize() / 1e6
    return 0.0


def _peak_rss_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3


def _count(what: str) -> int:
    with contextlib.suppress(OSError):
        return sum(1 for _ in Path(f"/proc/self/{what}").iterdir())
    return 0


def sum_gpu_mb(counter: str) -> float | None:
    """One of the counters of ``torch.cuda``, such as memory_reserved, over all GPUs; None where torch uses none."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    count = getattr(torch.cuda, counter)
    return sum(float(count(index)) for index in range(torch.cuda.device_count())) / 1e6
