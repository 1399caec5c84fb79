"""Chooses the device and the precision of the nets."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from musetalk_cli.engine.models.musetalk.checkpoints.loading import Precision
from musetalk_cli.errors import ModelError

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


def choose_precision(device: str = "auto", precision: str = "auto") -> Precision:
    """``device``: auto, cpu, mps, cuda or cuda:N; ``precision``: auto, fp16, bf16 or fp32.

    auto prefers a CUDA device to Apple's GPU, and that to the CPU; half precision on the first two, full precision on
    the CPU, which is slower in half precision. Raises ModelError for a device that does not exist.
    """
    chosen = torch.device(_find_device() if device == "auto" else device)
    _check(chosen)
    dtype = DTYPES["fp32" if chosen.type == "cpu" else "fp16"] if precision == "auto" else DTYPES[precision]
    if chosen.type == "cuda" and dtype == torch.bfloat16 and not _has_bf16(chosen):
        raise ModelError(f"{torch.cuda.get_device_name(chosen)} cannot compute in bf16", hint="use --precision fp16")
    return Precision(chosen, dtype)


def choose_precisions(device: str = "auto", precision: str = "auto") -> Sequence[Precision]:
    """The same for several devices, ``cuda:0,1``: one for each, in that order. Raises ModelError."""
    kind, _, numbers = device.partition(":")
    names = [f"{kind}:{number}" for number in numbers.split(",")] if numbers else [device]
    return [choose_precision(name, precision) for name in names]


def _find_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _has_bf16(device: torch.device) -> bool:
    with torch.cuda.device(device):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def _check(device: torch.device) -> None:
    if device.type == "cuda":
        if not torch.cuda.is_available():
            built = torch.version.cuda
            why = "nvidia-smi should show one" if built else "this PyTorch was built without CUDA, see pytorch.org"
            raise ModelError(f"there is no CUDA device for '{device}'", hint=f"{why}; --device cpu works, but slowly")
        if device.index is not None and device.index >= torch.cuda.device_count():
            last = torch.cuda.device_count() - 1
            there = "cuda:0" if not last else f"cuda:0 to cuda:{last}"
            raise ModelError(f"there is no device '{device}'", hint=f"there is {there}")
    elif device.type == "mps" and not torch.backends.mps.is_available():
        raise ModelError("there is no Apple GPU for 'mps'", hint="--device cpu works, but slowly")
