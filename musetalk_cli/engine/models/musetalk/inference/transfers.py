"""Arrays to a device and back. On a CUDA device copies run beside its arithmetic, and nobody waits before he must."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor

from musetalk_cli.engine.types.colour import as_bytes
from musetalk_cli.engine.types.messages import ByteArray

Collect = Callable[[], ByteArray]
Upload = Callable[[NDArray[Any]], Tensor]


class Copies(Protocol):
    def upload(self, array: NDArray[Any]) -> Tensor:
        """The array on the device; it may be overwritten at once on a CUDA device only."""

    def download(self, images: Tensor) -> Collect:
        """uint8 images: what is returned waits for them. ``images`` may be overwritten by later calls."""


class PlainCopies:
    """One after the other: on a CPU there is nothing to copy, and Apple's GPU shares its memory."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def upload(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self._device)

    def download(self, images: Tensor) -> Collect:
        held = as_bytes(images.cpu().numpy())
        return lambda: held


class CudaCopies:
    """Through pinned memory, on a stream of their own for each direction. Calls come from one thread at a time, with
    the arithmetic on the current stream; what ``download`` returned may be called from any."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._up, self._down = (torch.cuda.Stream(device) for _ in range(2))  # type: ignore[no-untyped-call]

    def upload(self, array: NDArray[Any]) -> Tensor:
        pinned = torch.from_numpy(array).pin_memory()
        arithmetic = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._up):
            copy = pinned.to(self._device, non_blocking=True)
        arithmetic.wait_stream(self._up)
        copy.record_stream(arithmetic)
        return copy

    def download(self, images: Tensor) -> Collect:
        # A graph's result is overwritten by the next batch, which need not wait for this one's way home.
        own = images.clone()
        self._down.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._down):
            pinned = torch.empty(own.shape, dtype=own.dtype, pin_memory=True)
            pinned.copy_(own, non_blocking=True)
            is_there = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            is_there.record(self._down)
        own.record_stream(self._down)

        def collect() -> ByteArray:
            is_there.synchronize()
            return as_bytes(pinned.numpy())

        return collect


def make_copies(device: torch.device) -> Copies:
    return CudaCopies(device) if device.type == "cuda" else PlainCopies(device)
