"""Calls of a cluster's actors, with their answers as futures of an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from musetalk_cli.app.cluster.ray_cluster import Actors, Node, WorkerLostError

WAKE_S = 0.02  # how soon an answer is taken


class SessionCluster(Actors, Protocol):
    """A cluster that serves sessions. ``close``, too, is called on the one thread."""

    def start_on(self, node: Node, kind: type, num_calls: int, *args: object) -> Any:
        """Ask for an actor that takes the whole of a machine, and ``num_calls`` calls at once."""


class ActorCalls:
    """Ray blocks, where its head does not answer for a minute, so it has a thread of its own here.

    All of it belongs to one event loop.
    """

    def __init__(self, cluster: SessionCluster) -> None:
        self._cluster = cluster
        self._thread = ThreadPoolExecutor(1, "musetalk-ray")
        self._waiting: dict[Any, tuple[Hashable, asyncio.Future[Any]]] = {}
        self._sending: set[asyncio.Task[None]] = set()

    async def on_thread(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run one function of the cluster."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)

    def call(self, owner: Hashable, worker: Any, method: str, *args: object) -> asyncio.Future[Any]:
        """Call a method of an actor, ``worker``. The future raises WorkerLostError where it is lost, or what it raised.

        ``owner``: what ``take`` returns, and ``forget`` is told, where it is lost.
        """
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        future.add_done_callback(lambda each: each.cancelled() or each.exception())  # nobody may ask
        task = asyncio.create_task(self._send(owner, worker, method, args, future))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)
        return future

    async def _send(
        self, owner: Hashable, worker: Any, method: str, args: tuple[object, ...], future: asyncio.Future[Any]
    ) -> None:
        try:
            call = await self.on_thread(self._cluster.call, worker, method, *args)
        except Exception as error:  # Ray has ended
            _fail(future, error)
        else:
            self._waiting[call] = (owner, future)

    async def take(self) -> dict[Hashable, str]:
        """Wait a moment for answers, and hand them over. Returns the owners of lost actors, with the reasons."""
        lost: dict[Hashable, str] = {}
        for call in await self.on_thread(self._cluster.wait, list(self._waiting), WAKE_S):
            owner, future = self._waiting.pop(call)
            try:
                answer = await self.on_thread(self._cluster.result, call)
            except WorkerLostError as error:
                lost[owner] = str(error)
                _fail(future, error)
            except Exception as error:  # of the method
                _fail(future, error)
            else:
                if not future.done():
                    future.set_result(answer)
        return lost

    def forget(self, owner: Hashable, reason: str) -> None:
        """No call of this owner is answered any more."""
        for call in [call for call, (whose, _) in self._waiting.items() if whose is owner]:
            _fail(self._waiting.pop(call)[1], WorkerLostError(reason))

    async def close(self, last: Callable[[], None], timeout_s: float) -> bool:
        """Run ``last`` on the thread, and end it. Returns False where it still waits for Ray after ``timeout_s``."""
        leaving = asyncio.get_running_loop().run_in_executor(self._thread, last)
        self._thread.shutdown(wait=False)
        done, _ = await asyncio.wait((leaving,), timeout=timeout_s)
        return bool(done)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
