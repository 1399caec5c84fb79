"""GPUs and PyTorch, which only the MuseTalk network needs."""

from __future__ import annotations

import platform
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from musetalk_cli.doctor.checks.finding import Finding, Setup, absent, ok, warning
from musetalk_cli.doctor.checks.programs import ask_python
from musetalk_cli.installation import install_command
from musetalk_cli.support.hardware import cpu_name, list_nvidia_gpus

TORCH_S = 60.0  # the first import reads a gigabyte from a disk
NVIDIA_FILES = ("/dev/nvidiactl", "/dev/dxg")
AMD_FILE = "/dev/kfd"
ASK_TORCH = """
import json, torch
gpus = []
if torch.cuda.is_available():
    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        free_bytes, total_bytes = torch.cuda.mem_get_info(index)
        gpus.append([about.name, f"{about.major}.{about.minor}", free_bytes, total_bytes])
built = torch.version.cuda and f"CUDA {torch.version.cuda}" or torch.version.hip and f"ROCm {torch.version.hip}"
mps = bool(torch.backends.mps.is_available())
print(json.dumps({"version": torch.__version__, "built": built or "", "mps": mps, "gpus": gpus}))
"""


def check_accelerators(setup: Setup) -> list[Finding]:
    """The GPUs that the system names, and those that PyTorch can use."""
    gpu, has_gpu = _check_gpu()
    return [gpu, _check_torch(has_gpu)]


def _check_gpu() -> tuple[Finding, bool]:
    gpus = list_nvidia_gpus()
    if gpus:
        names = "; ".join(f"{index}: {gpu.name}, {gpu.memory}" for index, gpu in enumerate(gpus))
        return ok("GPU", f"{names}; driver {gpus[0].driver}"), True
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return ok("GPU", f"{cpu_name()} (Apple)"), True
    if Path(AMD_FILE).exists():
        return ok("GPU", "AMD"), True
    if any(Path(name).exists() for name in NVIDIA_FILES):
        return warning("GPU", "there is one of NVIDIA's, but nvidia-smi does not answer", "install its driver"), True
    return absent("GPU", "none; the model warp needs none"), False


def _check_torch(has_gpu: bool) -> Finding:
    if find_spec("torch") is None:
        return absent("PyTorch", "not installed; only MuseTalk's models need it", install_command("neural"))
    said, reason = ask_python(ASK_TORCH, TORCH_S)
    if said is None:
        return warning("PyTorch", f"cannot be used: {reason}", f"install it again: {install_command('neural')}")
    value = f"{said['version']}, {_describe_build(said)}"
    if has_gpu and not said["gpus"] and not said["mps"]:
        return warning("PyTorch", f"{value}; it cannot use the GPU", "pytorch.org says which build fits your driver")
    return ok("PyTorch", value)


def _describe_build(said: dict[str, Any]) -> str:
    gpus = [
        f"{name} (compute capability {capability}, {free_bytes / 1e9:.1f} of {total_bytes / 1e9:.1f} GB free)"
        for name, capability, free_bytes, total_bytes in said["gpus"]
    ]
    parts = [said["built"] or "no CUDA", *gpus, *(["Apple's GPU"] if said["mps"] else [])]
    return ", ".join(parts if gpus or said["mps"] else [*parts, "runs on the CPU"])
