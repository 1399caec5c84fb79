"""Which machine and which versions the figures belong to."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from datetime import date

from musetalk_cli import __version__
from musetalk_cli.app.model_choice import count_cores
from musetalk_cli.benchmark.measurements.peak_flops import PeakFlops
from musetalk_cli.benchmark.workload.subject import Subject
from musetalk_cli.support.hardware import ask, cpu_name, list_nvidia_gpus
from musetalk_cli.support.versions import library_version

LIBRARIES = ("numpy", "opencv-python-headless", "torch")


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
        cpu=cpu_name(),
        num_cores=count_cores(),
        memory_gb=_memory_gb(),
        gpu=gpu,
        driver=driver,
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        libraries={name: found for name in LIBRARIES if (found := library_version(name))} | _warp_kernel(subject),
        ffmpeg=_ffmpeg_version(subject.ffmpeg),
        encoder=f"{subject.codec} {config.video.encoding_preset} {config.video.encoding_tune} crf {config.video.crf}"
        if subject.codec == "libx264"
        else subject.codec,
    )


def _warp_kernel(subject: Subject) -> dict[str, str]:
    """What does the warp model's work: it decides on its speed."""
    from musetalk_cli.engine.native.library import load

    return {"warp": "native" if load() else "numpy"} if subject.model.name == "warp" else {}


def _memory_gb() -> float:
    import psutil

    return float(psutil.virtual_memory().total) / 1e9


def ask_for_gpu() -> tuple[str, str]:
    """Name and memory of the first NVIDIA GPU, and the driver's version; on a Mac, what its chip is called."""
    if sys.platform == "darwin":
        return (f"{cpu_name()} (Apple)", "") if platform.machine() == "arm64" else ("", "")
    gpus = list_nvidia_gpus()
    if not gpus:
        return "", ""
    others = f", {len(gpus)} of them" if len(gpus) > 1 else ""
    return f"{gpus[0].name}, {gpus[0].memory}{others}", gpus[0].driver


def _ffmpeg_version(ffmpeg: str) -> str:
    words = ask(ffmpeg, "-version").split()
    return words[2] if len(words) > 2 else "of an unknown version"
