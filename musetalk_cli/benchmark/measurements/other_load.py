"""What else runs on this machine while it is measured."""

from __future__ import annotations

import time
from typing import Any

import psutil

# Of all cores: a browser at rest takes less, and figures of two runs differ by as much.
BUSY_SHARE = 0.15
LOOK_S = 0.5


class OtherLoad:
    """How busy others keep the processors, from now on: processor time of the machine, less ours and our children's."""

    def __init__(self) -> None:
        self._started_s = time.perf_counter()
        self._used_s = _used_by_all() - _used_by_us()

    def share(self) -> float:
        """Of all cores, 0..1, since the beginning."""
        elapsed_s = time.perf_counter() - self._started_s
        used_s = _used_by_all() - _used_by_us() - self._used_s
        return min(1.0, max(0.0, used_s / (elapsed_s * (psutil.cpu_count() or 1))))


def look_around() -> str:
    """A warning when the machine is busy now, before anything is measured; else empty."""
    load = OtherLoad()
    time.sleep(LOOK_S)
    return describe_load(load.share(), "other programs take")


def describe_load(share: float, what: str) -> str:
    """``warning: other programs take 40 % of the processors: the figures are too low`` if it is much; else empty."""
    if share < BUSY_SHARE:
        return ""
    return f"warning: {what} {100 * share:.0f} % of the processors: the figures are lower than this machine can do"


def _used_by_all() -> float:
    times: Any = psutil.cpu_times()
    idle_s = times.idle + getattr(times, "iowait", 0.0)
    # Guests are counted in user already.
    counted = [name for name in times._fields if name not in ("guest", "guest_nice")]
    return float(sum(getattr(times, name) for name in counted) - idle_s)


def _used_by_us() -> float:
    us = psutil.Process()
    own = us.cpu_times()
    used_s = float(own.user + own.system + own.children_user + own.children_system)
    for child in us.children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.Error:  # it has just ended, and counts among the children's from now on
            continue
        used_s += times.user + times.system
    return used_s
