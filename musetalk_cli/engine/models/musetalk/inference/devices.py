"""Chooses the device and the precision of the nets."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from musetalk_cli.engine.models.musetalk.checkpoints.loading import Precision
from musetalk_cli.errors import ModelError
from musetalk_cli.option_names import option

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


def choose_precision(device: str = "auto", precision: str = "auto", *, is_exact: bool = False) -> Precision:
    """Where the nets run, and in what.

    Args:
        device: auto, cpu, mps, cuda or cuda:N. auto prefers a CUDA device to Apple's GPU, and that to the CPU.
        precision: auto, fp16, bf16 or fp32. auto is fp16 on a GPU, bf16 on a CPU that computes in it, and otherwise
            fp32: CPUs that emulate 16 bits are slower in them.
        is_exact: auto is fp32 on every CPU.

    Raises:
        ModelError: the device does not exist, or does not compute in this precision.
    """
    chosen = torch.device(_find_device() if device == "auto" else device)
    _check(chosen)
    dtype = _default_dtype(chosen, is_exact=is_exact) if precision == "auto" else DTYPES[precision]
    if chosen.type == "cuda" and dtype == torch.bfloat16 and not _has_bf16(chosen):
        raise ModelError(
            f"{torch.cuda.get_device_name(chosen)} cannot compute in bf16", hint=f"use {option('--precision')} fp16"
        )
    return Precision(chosen, dtype)


def choose_precisions(device: str = "auto", precision: str = "auto", *, is_exact: bool = False) -> Sequence[Precision]:
    """The same for several devices, ``cuda:0,1``: one for each, in that order. Raises ModelError."""
    kind, _, numbers = device.partition(":")
    names = [f"{kind}:{number}" for number in numbers.split(",")] if numbers else [device]
    return [choose_precision(name, precision, is_exact=is_exact) for name in names]


def _default_dtype(device: torch.device, *, is_exact: bool) -> torch.dtype:
    if device.type != "cpu":
        return torch.float16
    return torch.bfloat16 if computes_in_bf16() and not is_exact else torch.float32


def computes_in_bf16() -> bool:
    """Whether this CPU has instructions for bf16, AVX512-BF16 or AMX, rather than converting to and from fp32."""
    asked = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(ask() for ask in asked if ask)


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
            raise ModelError(
                f"there is no CUDA device for '{device}'", hint=f"{why}; {option('--device')} cpu works, but slowly"
            )
        if device.index is not None and device.index >= torch.cuda.device_count():
            last = torch.cuda.device_count() - 1
            there = "cuda:0" if not last else f"cuda:0 to cuda:{last}"
            raise ModelError(f"there is no device '{device}'", hint=f"there is {there}")
    elif device.type == "mps" and not torch.backends.mps.is_available():
        raise ModelError("there is no Apple GPU for 'mps'", hint=f"{option('--device')} cpu works, but slowly")
