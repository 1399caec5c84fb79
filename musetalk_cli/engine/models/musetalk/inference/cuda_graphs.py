"""CUDA graphs: a net's launches recorded once for each shape and then sent as one, so that no launch is waited for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

NUM_WARM_CALLS = 3  # before a recording: libraries choose their kernels and take their memory
END_NAMES = ("_cuda_endAllocateToPool", "_cuda_endAllocateCurrentStreamToPool")

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
    All recordings share their memory, so one's result holds until the next call only; it is least if the largest is
    made first.
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
        """Record what is done for inputs of these shapes. Raises torch.OutOfMemoryError, and keeps what it has."""
        if self._has_failed or _key(inputs) in self._recordings:
            return
        try:
            self._recordings[_key(inputs)] = self._record(inputs)
        except torch.OutOfMemoryError:
            self._forget_unused()
            raise
        except RuntimeError as error:  # of CUDA, whose kinds differ between versions of PyTorch
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        else:
            return
        # Behind the clause, in which the error still holds on to all that was made.
        self._has_failed = True
        self._recordings.clear()
        self._forget_unused()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
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
        # Another thread, say one that makes features, may allocate meanwhile. The outer contexts are for a recording
        # that fails: PyTorch then leaves this thread on the side stream and the pool open.
        with (
            _closing(self._pool),
            torch.cuda.stream(current),
            torch.cuda.graph(graph, pool=self._pool, stream=side, capture_error_mode="thread_local"),
        ):
            output = self._function(*own)
        return Recording(graph, own, output)

    def _forget_unused(self) -> None:
        """Let go of a pool that no recording is in any more: PyTorch gives its memory back, and takes it for dead."""
        if not self._recordings:
            self._pool = self._side = None


@contextmanager
def _closing(pool: Any) -> Iterator[None]:
    """Close what a failed recording on the current device has opened, where PyTorch does not.

    It does not where CUDA has ended the recording before. As long as a pool is open, PyTorch gives back no memory that
    a second stream has used, so that every copy to the device or from it would take more.
    """
    try:
        yield
    except RuntimeError:
        _close(pool)
        raise


def _close(pool: Any) -> None:
    # There is no public way, and older versions have another name for it.
    end = next((getattr(torch._C, name) for name in END_NAMES if hasattr(torch._C, name)), None)
    if end is None:
        return
    device = torch.cuda.current_device()
    try:
        end(device, pool)
    except RuntimeError:  # it is not open
        return
    torch._C._cuda_releasePool(device, pool)


def _key(inputs: tuple[Tensor, ...]) -> Key:
    return tuple(given.shape for given in inputs)
