"""How much CPU and memory a container lets us use: the limits of our control group and of those above it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PROC, SYS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
# Version 1 writes a number near the largest where there is no limit.
NO_LIMIT_BYTES = 1 << 60


def cpu_limit(proc: Path = PROC, sys_folder: Path = SYS) -> float | None:
    """CPUs, such as 1.5; None where there is no limit, or no control groups."""
    found = []
    for folder in _folders("cpu", proc, sys_folder):
        quota, period = (
            _read(folder / "cpu.max", 2)
            or (
                *_read(folder / "cpu.cfs_quota_us", 1),
                *_read(folder / "cpu.cfs_period_us", 1),
            )
            or ("", "")
        )
        with suppress(ValueError):
            if int(quota) > 0 and int(period) > 0:
                found.append(int(quota) / int(period))
    return min(found, default=None)


def memory_limit_bytes(proc: Path = PROC, sys_folder: Path = SYS) -> int | None:
    """Bytes; None where there is no limit, or no control groups."""
    found = []
    for folder in _folders("memory", proc, sys_folder):
        values = _read(folder / "memory.max", 1) or _read(folder / "memory.limit_in_bytes", 1)
        with suppress(ValueError, IndexError):
            found.append(int(values[0]))
    return min((each for each in found if each < NO_LIMIT_BYTES), default=None)


def _folders(controller: str, proc: Path, sys_folder: Path) -> Iterator[Path]:
    """Our group's folder and those above it, for version 2 and for version 1."""
    with suppress(OSError):
        for line in proc.read_text(encoding="utf-8", errors="replace").splitlines():
            _, controllers, path = (*line.split(":", 2), "", "")[:3]
            if controllers and controller not in controllers.split(","):
                continue
            root = sys_folder / controller if controllers else sys_folder
            group = root / path.strip("/")
            # Inside a container the path may be the host's, of which nothing is there.
            yield from (each for each in (group, *group.parents) if each == root or root in each.parents)


def _read(path: Path, num_values: int) -> tuple[str, ...]:
    """The words of a file, if they are as many; none where it is not there."""
    with suppress(OSError):
        words = tuple(path.read_text(encoding="utf-8", errors="replace").split())
        return words if len(words) == num_values else ()
    return ()
