"""Which machine and which versions the figures belong to."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from musetalk_cli import __version__
from musetalk_cli.app.model_choice import count_cores
from musetalk_cli.benchmark.measurements.peak_flops import PeakFlops
from musetalk_cli.benchmark.workload.subject import Subject

LIBRARIES = ("numpy", "opencv-python-headless", "torch")
ASK_S = 10.0


@dataclass(frozen=True)
class MachineInfo:
    """``gpu`` and ``driver`` are empty where there is none; ``peak_flops`` is None for a model without large nets, and
    until it is measured."""

    date: str
    musetalk: str
    model: str
    cpu: str
    num_cores: int
    memory_gb: float
    gpu: str
    driver: str
    system: str
    python: str
    libraries: dict[str, str]
    ffmpeg: str
    encoder: str
    peak_flops: PeakFlops | None = None


def describe_machine(subject: Subject) -> MachineInfo:
    """Ask the system; nothing is measured."""
    config = subject.config
    gpu, driver = ask_for_gpu()
    return MachineInfo(
        date=str(date.today()),
        musetalk=__version__,
        model=subject.model.name,
        cpu=_cpu_name(),
        num_cores=count_cores(),
        memory_gb=_memory_gb(),
        gpu=gpu,
        driver=driver,
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        libraries={name: found for name in LIBRARIES if (found := _version(name))},
        ffmpeg=_ffmpeg_version(subject.ffmpeg),
        encoder=f"{subject.codec} {config.video.encoding_preset} {config.video.encoding_tune} crf {config.video.crf}"
        if subject.codec == "libx264"
        else subject.codec,
    )


def _cpu_name() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    if sys.platform == "darwin":
        return _ask("sysctl", "-n", "machdep.cpu.brand_string") or platform.machine()
    return platform.processor() or platform.machine()


def _memory_gb() -> float:
    import psutil

    return float(psutil.virtual_memory().total) / 1e9


def ask_for_gpu() -> tuple[str, str]:
    """Name and memory of the first NVIDIA GPU, and the driver's version; on a Mac, what its chip is called."""
    if sys.platform == "darwin":
        return (f"{_cpu_name()} (Apple)", "") if platform.machine() == "arm64" else ("", "")
    said = _ask("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader").splitlines()
    fields = [field.strip() for field in said[0].split(",")] if said else []
    if len(fields) != 3:
        return "", ""
    others = f", {len(said)} of them" if len(said) > 1 else ""
    return f"{fields[0]}, {fields[1]}{others}", fields[2]


def _ask(*command: str) -> str:
    """What a program prints; empty where it is not there or fails."""
    if shutil.which(command[0]) is None:
        return ""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ASK_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _version(library: str) -> str:
    with suppress(PackageNotFoundError):
        return version(library)
    return ""


def _ffmpeg_version(ffmpeg: str) -> str:
    words = _ask(ffmpeg, "-version").split()
    return words[2] if len(words) > 2 else "of an unknown version"
