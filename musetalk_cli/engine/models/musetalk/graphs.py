"""CUDA graphs: a net's launches recorded once for each shape and then sent as one, so that no launch is waited for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

NUM_WARM_CALLS = 3  # before a recording: libraries choose their kernels and take their memory

log = logging.getLogger(__name__)

Key = tuple[torch.Size, ...]


class Recording(NamedTuple):
    """A graph reads ``inputs`` and writes ``output``, always the same memory."""

    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor, ...]
    output: Tensor


class Graphs:
    """A function of tensors to a tensor, on one CUDA device. One thread at a time.

    Shapes that were not recorded are called as they are; where recording fails, all are, and that is logged once.
    All recordings share their memory, so one's result holds until the next call only.
    """

    def __init__(self, function: Callable[..., Tensor], device: torch.device) -> None:
        self._function = function
        self._device = device
        self._recordings: dict[Key, Recording] = {}
        self._has_failed = False
        # Memory is shared among recordings only if they were made on the same stream.
        self._side: Any = None
        self._pool: Any = None

    def __call__(self, *inputs: Tensor) -> Tensor:
        recording = self._recordings.get(_key(inputs))
        if recording is None:
            return self._function(*inputs)
        for mine, given in zip(recording.inputs, inputs, strict=True):
            mine.copy_(given)
        recording.graph.replay()
        return recording.output

    def record(self, *inputs: Tensor) -> None:
        """Record what is done for inputs of these shapes. Raises torch.OutOfMemoryError."""
        if self._has_failed or _key(inputs) in self._recordings:
            return
        try:
            self._recordings[_key(inputs)] = self._record(inputs)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # of CUDA, whose kinds differ between versions of PyTorch
            self._has_failed = True
            self._recordings.clear()
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            log.warning("CUDA graphs cannot be used on %s, which makes small batches slower: %s", self._device, reason)

    def _record(self, inputs: tuple[Tensor, ...]) -> Recording:
        own = tuple(torch.empty_like(given).copy_(given) for given in inputs)
        self._side = side = self._side or torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        current = torch.cuda.current_stream(self._device)
        side.wait_stream(current)
        with torch.cuda.stream(side):
            for _ in range(NUM_WARM_CALLS):
                self._function(*own)
        current.wait_stream(side)
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        # Another thread, say one that makes features, may allocate meanwhile. The outer stream is for a recording that
        # fails: PyTorch then leaves this thread on the side stream.
        with (
            torch.cuda.stream(current),
            torch.cuda.graph(graph, pool=self._pool, stream=side, capture_error_mode="thread_local"),
        ):
            output = self._function(*own)
        return Recording(graph, own, output)


def _key(inputs: tuple[Tensor, ...]) -> Key:
    return tuple(given.shape for given in inputs)
