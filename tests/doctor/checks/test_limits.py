"""Limits of control groups, of both versions, as a container has them."""

from __future__ import annotations

from pathlib import Path

from musetalk_cli.doctor.checks.limits import cpu_limit, memory_limit_bytes


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_the_tightest_limit_of_all_groups_above_holds(tmp_path: Path) -> None:
    proc = write(tmp_path, {"cgroup": "0::/app/one\n"}) / "cgroup"
    files = {
        "app/cpu.max": "150000 100000\n",
        "app/one/cpu.max": "max 100000\n",
        "app/one/memory.max": "max\n",
        "app/memory.max": "2000000000\n",
    }
    system = write(tmp_path / "sys", files)
    assert cpu_limit(proc, system) == 1.5
    assert memory_limit_bytes(proc, system) == 2_000_000_000


def test_version_one_is_read_too(tmp_path: Path) -> None:
    proc = write(tmp_path, {"cgroup": "4:memory:/docker/1\n3:cpu,cpuacct:/docker/1\n"}) / "cgroup"
    files = {
        "cpu/cpu.cfs_quota_us": "50000",
        "cpu/cpu.cfs_period_us": "100000",
        "memory/memory.limit_in_bytes": "9223372036854771712",
    }
    system = write(tmp_path / "sys", files)
    assert cpu_limit(proc, system) == 0.5
    assert memory_limit_bytes(proc, system) is None


def test_without_control_groups_there_is_no_limit(tmp_path: Path) -> None:
    assert cpu_limit(tmp_path / "none", tmp_path) is None
    odd = write(tmp_path, {"cgroup": "nonsense", "cpu.max": "", "memory.max": "lots"})
    assert cpu_limit(odd / "cgroup", odd) is None
    assert memory_limit_bytes(odd / "cgroup", odd) is None
