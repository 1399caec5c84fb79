"""The device, with its timer and its memory statistics."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from musetalk_cli.engine.models.musetalk.checkpoints.loading import NetConfigs


@dataclass(frozen=True)
class Machine:
    """The device and the workload: ``repeats`` calls for each figure, ``batches`` of faces."""

    device: torch.device
    configs: NetConfigs
    repeats: int
    batches: tuple[int, ...]
    block: tuple[int, ...] = (1, 8, 8, 8, 8, 8, 8, 1)  # the batches of a stream's first 2 s at 25 frames per second

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def seconds(self, call: Callable[[], object]) -> float:
        """Median seconds of a call, after two warm-up calls."""
        durations = []
        for repeat in range(2 + self.repeats):
            self.wait()
            started = time.perf_counter()
            call()
            self.wait()
            if repeat >= 2:
                durations.append(time.perf_counter() - started)
        return statistics.median(durations)

    def peak_gib(self) -> float:
        """Peak memory of tensors since the last call of this, GiB; 0 on a CPU."""
        if self.device.type != "cuda":
            return 0.0
        peak = torch.cuda.max_memory_allocated(self.device) / 2**30
        torch.cuda.reset_peak_memory_stats(self.device)
        return peak


def describe(machine: Machine) -> str:
    if machine.device.type != "cuda":
        return f"CPU, torch {torch.__version__}, {torch.get_num_threads()} threads"
    facts = torch.cuda.get_device_properties(machine.device)
    return (
        f"{facts.name}, {facts.total_memory / 2**30:.0f} GiB, {facts.multi_processor_count} multiprocessors, "
        f"torch {torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
    )
