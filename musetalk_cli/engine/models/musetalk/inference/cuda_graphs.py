"""CUDA graphs: kernel launches are captured once for each shape and replayed as one, without the launches' overhead."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

NUM_WARM_UP_CALLS = 3  # before a capture: libraries choose their kernels and allocate their workspaces
END_NAMES = ("_cuda_endAllocateToPool", "_cuda_endAllocateCurrentStreamToPool")

log = logging.getLogger(__name__)

Key = tuple[torch.Size, ...]


class CapturedGraph(NamedTuple):
    """A graph that reads ``inputs`` and writes ``output``, always at the same addresses."""

    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor, ...]
    output: Tensor


class CudaGraphs:
    """A function of tensors to a tensor, on one CUDA device. One thread at a time.

    Shapes that were not captured run eagerly; where a capture fails, all do, and a warning is logged once. All graphs
    share a memory pool, so a result is overwritten by the next call; the pool is smallest if the largest shape is
    captured first.
    """

    def __init__(self, function: Callable[..., Tensor], device: torch.device) -> None:
        self._function = function
        self._device = device
        self._captured: dict[Key, CapturedGraph] = {}
        self._has_failed = False
        # Graphs share the pool's memory only if they were captured on the same stream.
        self._side_stream: Any = None
        self._pool: Any = None

    def __call__(self, *inputs: Tensor) -> Tensor:
        captured = self._captured.get(_key(inputs))
        if captured is None:
            return self._function(*inputs)
        for own, given in zip(captured.inputs, inputs, strict=True):
            own.copy_(given)
        captured.graph.replay()
        return captured.output

    def capture(self, *inputs: Tensor) -> None:
        """Capture a graph for inputs of these shapes. Raises torch.OutOfMemoryError; earlier graphs remain usable."""
        if self._has_failed or _key(inputs) in self._captured:
            return
        try:
            self._captured[_key(inputs)] = self._capture(inputs)
        except torch.OutOfMemoryError:
            self._release_unused_pool()
            raise
        except RuntimeError as error:  # of CUDA, whose kinds differ between versions of PyTorch
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        else:
            return
        # Behind the except clause, in which the error's traceback still refers to the tensors.
        self._has_failed = True
        self._captured.clear()
        self._release_unused_pool()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        log.warning("CUDA graphs cannot be used on %s, which makes small batches slower: %s", self._device, reason)

    def _capture(self, inputs: tuple[Tensor, ...]) -> CapturedGraph:
        own = tuple(torch.empty_like(given).copy_(given) for given in inputs)
        side = self._side_stream or torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        self._side_stream = side
        current = torch.cuda.current_stream(self._device)
        side.wait_stream(current)
        with torch.cuda.stream(side):
            for _ in range(NUM_WARM_UP_CALLS):
                self._function(*own)
        current.wait_stream(side)
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        # thread_local, as another thread, which computes features, may allocate meanwhile. The outer contexts are for a
        # capture that fails: PyTorch then leaves this thread on the side stream and the pool open.
        with (
            _closing(self._pool),
            torch.cuda.stream(current),
            torch.cuda.graph(graph, pool=self._pool, stream=side, capture_error_mode="thread_local"),
        ):
            output = self._function(*own)
        return CapturedGraph(graph, own, output)

    def _release_unused_pool(self) -> None:
        """Drop a pool without graphs: PyTorch frees its memory, and the pool's handle is invalid from then on."""
        if not self._captured:
            self._pool = self._side_stream = None


@contextmanager
def _closing(pool: Any) -> Iterator[None]:
    """Close the pool of a failed capture on the current device, where PyTorch does not.

    It does not where CUDA has ended the capture by itself. As long as a pool is open, PyTorch frees no memory that a
    second stream has used, so every copy to or from the device would allocate more.
    """
    try:
        yield
    except RuntimeError:
        _close(pool)
        raise


def _close(pool: Any) -> None:
    # There is no public function for it, and older versions have another name for the private one.
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
