"""CPU time and memory of a run: its own process and its children, ffmpeg above all."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from psutil import Process

SAMPLE_S = 1.0
# Finding children goes through all processes of the machine, so it is done more seldom than measuring them.
CHILDREN_S = 5.0


@dataclass(frozen=True)
class Usage:
    """``cpu_percent`` of one core (200: two cores busy) and ``rss_mb``, resident memory in 10⁶ bytes, are those of the
    process and its children; ``num_threads`` and ``num_files`` (open ones) those of the process alone; ``gpu_mb`` is
    what torch has reserved on all GPUs, None where it uses none."""

    cpu_percent: float
    rss_mb: float
    num_threads: int
    num_files: int
    gpu_mb: float | None

    def as_record(self) -> dict[str, float | None]:
        """A JSON-ready mapping with rounded figures."""
        return {name: None if value is None else round(value, 1) for name, value in asdict(self).items()}


class UsageMeter:
    """Measures this process at most once a second; in between, ``read`` returns the last figures.

    psutil is loaded at the first ``read``, which is when the first frames are already on their way.
    """

    def __init__(self) -> None:
        self._at = time.monotonic()
        self._cpu_s = {os.getpid(): time.process_time()}
        self._family: list[Process] = []
        self._family_at = 0.0
        self._last: Usage | None = None

    def read(self) -> Usage:
        """The figures now, or those of less than a second ago."""
        now = time.monotonic()
        if self._last is None or now - self._at >= SAMPLE_S:
            self._last = self._measure(now)
        return self._last

    def _measure(self, now: float) -> Usage:
        import psutil

        if not self._family or now - self._family_at >= CHILDREN_S:
            self._family, self._family_at = find_family(), now
        cpu_s: dict[int, float] = {}
        rss_bytes = 0
        for process in self._family:
            with contextlib.suppress(psutil.Error):  # it has ended meanwhile
                times = process.cpu_times()
                cpu_s[process.pid] = times.user + times.system
                rss_bytes += process.memory_info().rss
        is_first = self._last is None  # then all children are younger than this meter, else seen with a delay
        spent_s = sum(total - self._cpu_s.get(pid, 0.0 if is_first else total) for pid, total in cpu_s.items())
        cpu_percent = max(0.0, 100 * spent_s / max(now - self._at, 1e-3))
        self._at, self._cpu_s = now, cpu_s
        own = self._family[0]
        return Usage(cpu_percent, rss_bytes / 1e6, own.num_threads(), _count_files(own), sum_gpu_mb("memory_reserved"))


def _count_files(process: Process) -> int:
    count = getattr(process, "num_fds", None) or getattr(process, "num_handles")  # noqa: B009 - Windows'
    return int(count())


def find_family(pid: int | None = None) -> list[Process]:
    """A process, this one without ``pid``, and behind it the children that it has, theirs included.

    Raises psutil.NoSuchProcess when it has ended.
    """
    import psutil

    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def sum_gpu_mb(counter: str) -> float | None:
    """One of the counters of ``torch.cuda``, such as memory_reserved, over all GPUs; None where torch uses none."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    count = getattr(torch.cuda, counter)
    return sum(float(count(index)) for index in range(torch.cuda.device_count())) / 1e6
