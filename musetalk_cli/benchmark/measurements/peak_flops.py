"""The peak FLOP/s of the device, by large matrix products, and how many frames a second the nets would make of them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from musetalk_cli.engine.models.musetalk.checkpoints.loading import Precision

# UNet and decoder as published, one frame: python -m tools.measure.neural_speed --only operations
FRAME_GFLOP = 799.96
SIDES = {"cpu": 1024, "mps": 4096, "cuda": 8192}
MEASURED_S = 0.5


@dataclass(frozen=True)
class PeakFlops:
    """``device`` and ``precision`` that were measured, ``cuda:0 and cuda:1`` where there are several; the arithmetic
    that they reach together, and the frames per second that this would make if nothing else took time and every frame
    took what the nets as published take. What is run takes less, and much less with TAESD or at half rate."""

    device: str
    precision: str
    tflops: float
    fps: float


def measure_peak_flops(device: str, precision: str) -> PeakFlops:
    """The best of many large matrix products in the precision of the nets, one device after the other.

    On a CPU, as many threads take part as the nets get, which is how torch has been set by now. Raises ModelError.
    """
    from musetalk_cli.engine.models.musetalk.inference.devices import choose_precisions

    chosen = choose_precisions(device, precision)
    tflops = sum(map(measure_tflops, chosen))
    kind = str(chosen[0].dtype).removeprefix("torch.")
    return PeakFlops(" and ".join(str(each.device) for each in chosen), kind, tflops, frames_per_second(tflops))


def frames_per_second(tflops: float) -> float:
    """Frames a second of the nets as published, if nothing but this arithmetic took time."""
    return tflops * 1000 / FRAME_GFLOP


def measure_tflops(chosen: Precision) -> float:
    """10¹² operations a second, of the best product of two large matrices. They count in torch's peak memory."""
    import torch

    side = SIDES[chosen.device.type]
    left, right = (torch.randn(side, side, device=chosen.device).to(chosen.dtype) for _ in range(2))
    times_s: list[float] = []
    with torch.inference_mode():
        torch.mm(left, right)  # libraries are loaded and chosen at the first
        _finish(chosen.device)
        while sum(times_s) < MEASURED_S:
            started_s = time.perf_counter()
            torch.mm(left, right)
            _finish(chosen.device)
            times_s.append(time.perf_counter() - started_s)
    return 2 * side**3 / min(times_s) / 1e12


def _finish(device: torch.device) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
