"""Captures of CUDA graphs, simulated: which pools are open, released or leaked after a capture fails."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[neural]'")

from musetalk_cli.engine.models.musetalk.inference.cuda_graphs import END_NAMES, CudaGraphs  # noqa: E402

DEVICE = torch.device("cuda", 0)


class Stream:
    def wait_stream(self, other: Stream) -> None:
        pass


class FakeCuda:
    """Pools are counted as PyTorch does: each capture opens its pool and its graph uses it until it is destroyed; one
    without users is dead. ``breaks`` says when a capture is ended by CUDA, which leaves the pool open.
    """

    def __init__(self) -> None:
        self.opened: set[int] = set()
        self.users: dict[int, int] = {}
        self.dead: set[int] = set()
        self.stream = self.default = Stream()
        self.breaks: Callable[[], bool] = lambda: False
        self.is_capturing = False
        self.num_emptied = 0
        self._pools = itertools.count(1)

    def new_pool(self) -> int:
        return next(self._pools)

    @contextmanager
    def on(self, stream: Stream) -> Iterator[None]:
        before, self.stream = self.stream, stream
        try:
            yield
        finally:
            self.stream = before

    def end(self, device: int, pool: int) -> None:
        if pool not in self.opened:
            raise RuntimeError("not currently capturing")
        self.opened.remove(pool)

    def release(self, device: int, pool: int) -> None:
        self.users[pool] -= 1
        assert self.users[pool] >= 0
        if not self.users[pool]:
            self.dead.add(pool)

    def empty(self) -> None:
        self.num_emptied += 1


class Graph:
    cuda: FakeCuda

    def __init__(self) -> None:
        self.pool: int | None = None

    def __del__(self) -> None:
        if self.pool:
            self.cuda.release(0, self.pool)

    def replay(self) -> None:
        pass


class Capture:
    """torch.cuda.graph: when CUDA ends the capture, it neither closes the pool nor leaves the stream."""

    def __init__(self, graph: Graph, *, pool: int, stream: Stream, capture_error_mode: str) -> None:
        assert capture_error_mode == "thread_local"
        self._graph, self._pool, self._stream = graph, pool, stream

    def __enter__(self) -> None:
        cuda = self._graph.cuda
        assert self._pool not in cuda.dead | cuda.opened
        cuda.opened.add(self._pool)
        cuda.users[self._pool] = cuda.users.get(self._pool, 0) + 1
        cuda.stream, cuda.is_capturing = self._stream, True

    def __exit__(self, *_: object) -> None:
        cuda = self._graph.cuda
        cuda.is_capturing = False
        if cuda.breaks():
            raise RuntimeError("operation failed due to a previous error during capture\nand much more")
        cuda.opened.remove(self._pool)
        cuda.stream, self._graph.pool = cuda.default, self._pool


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    fake = FakeCuda()
    fakes = {
        "Stream": lambda device: Stream(),
        "current_stream": lambda device: fake.stream,
        "stream": fake.on,
        "graph_pool_handle": fake.new_pool,
        "CUDAGraph": type("OwnGraph", (Graph,), {"cuda": fake}),
        "graph": Capture,
        "is_available": lambda: True,
        "current_device": lambda: 0,
        "empty_cache": fake.empty,
    }
    for name, value in fakes.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(torch._C, END_NAMES[0], fake.end, raising=False)
    monkeypatch.setattr(torch._C, "_cuda_releasePool", fake.release, raising=False)
    return fake


class Work:
    """The captured function. ``room`` is the largest batch that memory holds, in a capture or before it."""

    def __init__(self, cuda: FakeCuda) -> None:
        self.room, self.room_in_capture = 99, 99
        self.calls = 0
        self._cuda = cuda

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        if len(x) > (self.room_in_capture if self._cuda.is_capturing else self.room):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return x * 2


def is_captured(graphs: CudaGraphs, work: Work, size: int) -> bool:
    before = work.calls
    graphs(torch.ones(size))
    return work.calls == before


def test_captured_graphs_share_a_pool_and_are_replayed(cuda: FakeCuda) -> None:
    graphs = CudaGraphs(work := Work(cuda), DEVICE)
    for size in (4, 2):
        graphs.capture(torch.ones(size))
        graphs.capture(torch.ones(size))
    assert [is_captured(graphs, work, size) for size in (4, 2, 3)] == [True, True, False]
    assert cuda.users == {1: 2}
    assert not cuda.opened
    assert cuda.stream is cuda.default


@pytest.mark.parametrize("attribute", ["room", "room_in_capture"])
def test_without_memory_for_the_largest_the_smaller_ones_are_captured(cuda: FakeCuda, attribute: str) -> None:
    graphs = CudaGraphs(work := Work(cuda), DEVICE)
    setattr(work, attribute, 2)
    for size in (8, 4):
        with pytest.raises(torch.OutOfMemoryError):
            graphs.capture(torch.ones(size))
    graphs.capture(torch.ones(2))
    with pytest.raises(torch.OutOfMemoryError):
        graphs.capture(torch.ones(3))
    graphs.capture(torch.ones(1))
    work.room = 99
    assert [is_captured(graphs, work, size) for size in (8, 4, 3, 2, 1)] == [False, False, False, True, True]
    assert sorted(cuda.users.values())[-1] == 2
    assert not cuda.opened
    assert cuda.stream is cuda.default


def test_a_capture_that_cuda_ends_leaks_nothing(cuda: FakeCuda, caplog: pytest.LogCaptureFixture) -> None:
    graphs = CudaGraphs(work := Work(cuda), DEVICE)
    graphs.capture(torch.ones(4))
    cuda.breaks = lambda: True
    with caplog.at_level(logging.WARNING):
        graphs.capture(torch.ones(2))
        graphs.capture(torch.ones(1))
    assert [record.getMessage() for record in caplog.records] == [
        "CUDA graphs cannot be used on cuda:0, which makes small batches slower: "
        "operation failed due to a previous error during capture"
    ]
    assert not cuda.opened
    assert cuda.users == {1: 0}
    assert cuda.num_emptied == 1
    assert cuda.stream is cuda.default
    assert [is_captured(graphs, work, size) for size in (4, 2, 1)] == [False, False, False]
