"""Chooses which upsamplings are computed as four phases: those where that is faster on the device."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn

from musetalk_cli.engine.models.musetalk.nets.layers import PhaseUpsample, Upsample

# Frames in a timed call: a few fill a GPU.
BATCH = 4
REPEATS = 5

Timer = Callable[[nn.Module, Tensor], float]


@lru_cache(maxsize=32)
def choose_phases(
    shapes: tuple[tuple[int, int], ...], device: torch.device, dtype: torch.dtype, on_cpu: bool
) -> tuple[bool, ...]:
    """For each upsampling, (channels, height before it), whether it is computed as four phases.

    On a CUDA device both ways are timed with random weights, once for each device, precision and net, which takes a
    tenth of a second. Elsewhere the answer is ``on_cpu``: on a CPU, phases make the decoder faster, but not the UNet
    with its small feature maps.
    """
    if device.type != "cuda":
        return (on_cpu,) * len(shapes)
    return pick_faster(shapes, device, dtype, time_on_cuda)


@torch.inference_mode()
def pick_faster(
    shapes: Sequence[tuple[int, int]], device: torch.device, dtype: torch.dtype, timer: Timer
) -> tuple[bool, ...]:
    """The same for any ``timer``, which returns the seconds that a layer takes for an input."""
    choices = []
    for dim, height in shapes:
        layers = [_to_channels_last(kind(dim).to(device, dtype)) for kind in (Upsample, PhaseUpsample)]
        x = torch.randn(BATCH, dim, height, height, device=device, dtype=dtype)
        plain_s, phases_s = (timer(layer, x.contiguous(memory_format=torch.channels_last)) for layer in layers)
        choices.append(phases_s < plain_s)
    return tuple(choices)


def _to_channels_last(layer: Upsample | PhaseUpsample) -> nn.Module:
    layer.conv.weight.data = layer.conv.weight.data.contiguous(memory_format=torch.channels_last)
    return layer


def time_on_cuda(layer: nn.Module, x: Tensor) -> float:
    """Seconds of the fastest of some calls, after two in which cuDNN chooses its kernels."""
    durations = []
    for repeat in range(2 + REPEATS):
        torch.cuda.synchronize(x.device)
        started = time.perf_counter()
        layer(x)
        torch.cuda.synchronize(x.device)
        if repeat >= 2:
            durations.append(time.perf_counter() - started)
    return min(durations)
