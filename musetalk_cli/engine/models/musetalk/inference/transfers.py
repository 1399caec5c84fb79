"""Copies arrays to a device and back. On a CUDA device, copies overlap with computation."""

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


class Transfers(Protocol):
    def upload(self, array: NDArray[Any]) -> Tensor:
        """The array on the device. The caller may overwrite ``array`` afterwards on a CUDA device only."""

    def download(self, images: Tensor) -> Collect:
        """Start copying uint8 images; the returned function waits for the copy and returns it.

        ``images`` may be overwritten by later calls.
        """


class DirectTransfers:
    """Synchronous copies: on a CPU there is nothing to copy, and Apple's GPU shares the CPU's memory."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def upload(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self._device)

    def download(self, images: Tensor) -> Collect:
        copied = as_bytes(images.cpu().numpy())
        return lambda: copied


class CudaTransfers:
    """Copies through pinned memory, on a stream of its own for each direction.

    One thread at a time may call it, with the computation on its current stream; the functions that ``download``
    returns may be called from any thread.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._up, self._down = (torch.cuda.Stream(device) for _ in range(2))  # type: ignore[no-untyped-call]

    def upload(self, array: NDArray[Any]) -> Tensor:
        pinned = torch.from_numpy(array).pin_memory()
        compute = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._up):
            copy = pinned.to(self._device, non_blocking=True)
        compute.wait_stream(self._up)
        copy.record_stream(compute)
        return copy

    def download(self, images: Tensor) -> Collect:
        # A graph's result is overwritten by the next batch, which need not wait for this one's copy.
        own = images.clone()
        self._down.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._down):
            pinned = torch.empty(own.shape, dtype=own.dtype, pin_memory=True)
            pinned.copy_(own, non_blocking=True)
            is_copied = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            is_copied.record(self._down)
        own.record_stream(self._down)

        def collect() -> ByteArray:
            is_copied.synchronize()
            return as_bytes(pinned.numpy())

        return collect


def make_transfers(device: torch.device) -> Transfers:
    return CudaTransfers(device) if device.type == "cuda" else DirectTransfers(device)
