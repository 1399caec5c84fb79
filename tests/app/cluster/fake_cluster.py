"""A cluster without processes: what its workers do is a function, and calls end when they are waited for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from musetalk_cli import __version__
from musetalk_cli.app.batch.item import BatchItem, ItemResult
from musetalk_cli.app.cluster.ray_cluster import Node, WorkerLostError
from musetalk_cli.app.cluster.worker import WorkerInfo, WorkerState

# What a worker does with an item: a result, None while it goes on, or WorkerLostError.
Render = Callable[[int, BatchItem], "ItemResult | None"]


class FakeCluster:
    """Workers are numbers. ``rendered``: each item that was begun, and where; ``most_at_once`` of one worker."""

    def __init__(self, render: Render, num_machines: int = 2, version: str = __version__) -> None:
        self.machines = [Node(1.0, 0.0)] * num_machines
        self.version, self.finds_file = version, True
        self.starts = True
        self.rendered: list[tuple[int, BatchItem]] = []
        self.ended: list[int] = []
        self.most_at_once = 0
        self.is_closed = False
        self._render = render
        self._num_workers = 0
        self._lost = set[int]()
        self._calls: dict[int, tuple[int, str, tuple[Any, ...]]] = {}
        self._answers: dict[int, Any] = {}

    def nodes(self) -> list[Node]:
        return self.machines

    def start_worker(self, num_jobs: int, num_cpus: int, num_gpus: int, environment: Mapping[str, str]) -> int:
        self._num_workers += 1
        return self._num_workers

    def call(self, worker: int, method: str, *args: object) -> int:
        key = len(self._calls)
        self._calls[key] = (worker, method, args)
        if method == "render":
            self.rendered.append((worker, args[0]))  # type: ignore[arg-type]
        return key

    def wait(self, calls: Sequence[int], timeout_s: float) -> list[int]:
        running = [self._calls[call][0] for call in calls if self._calls[call][1] == "render"]
        self.most_at_once = max([self.most_at_once, *(running.count(worker) for worker in running)])
        ended = [call for call in calls if self._has_ended(call)]
        if not ended:
            threading.Event().wait(0.001)
        return ended

    def result(self, call: int) -> Any:
        answer = self._answers.pop(call)
        if isinstance(answer, WorkerLostError):
            raise answer
        return answer

    def kill(self, worker: int) -> None:
        self._lost.add(worker)

    def close(self) -> None:
        self.is_closed = True

    def _has_ended(self, call: int) -> bool:
        worker, method, args = self._calls[call]
        try:
            answer = self._answer(worker, method, args)
        except WorkerLostError as error:
            self._lost.add(worker)
            answer = error
        self._answers[call] = answer
        return answer is not None

    def _answer(self, worker: int, method: str, args: tuple[Any, ...]) -> Any:
        if worker in self._lost:
            raise WorkerLostError("it was lost before")
        if method == "describe":
            if not self.starts:
                raise WorkerLostError("no module named musetalk_cli")
            return WorkerInfo(self.version, f"machine{worker}", self.finds_file)
        if method == "end":
            self.ended.append(worker)
        return self._render(worker, *args) if method == "render" else WorkerState()
