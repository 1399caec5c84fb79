"""What the system says of its CPU and GPUs. Nothing here raises."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ASK_S = 10.0
GPU_FIELDS = "name,memory.total,driver_version"


@dataclass(frozen=True)
class NvidiaGpu:
    """As nvidia-smi describes it: ``memory`` with its unit, ``driver`` a version."""

    name: str
    memory: str
    driver: str


def cpu_name() -> str:
    """The processor's name, or at least its architecture."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    if sys.platform == "darwin":
        return ask("sysctl", "-n", "machdep.cpu.brand_string") or platform.machine()
    return platform.processor() or platform.machine()


def list_nvidia_gpus() -> list[NvidiaGpu]:
    """The GPUs that nvidia-smi lists; none where there is no driver."""
    said = ask("nvidia-smi", f"--query-gpu={GPU_FIELDS}", "--format=csv,noheader").splitlines()
    rows = [[field.strip() for field in line.split(",")] for line in said]
    return [NvidiaGpu(*row) for row in rows if len(row) == len(GPU_FIELDS.split(","))]


def ask(*command: str) -> str:
    """What a program prints; empty where it is not there, fails or does not answer."""
    if shutil.which(command[0]) is None:
        return ""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=ASK_S, check=False
        )
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
