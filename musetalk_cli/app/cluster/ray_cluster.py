"""The few calls of Ray that batches and sessions need. Nothing else here knows Ray."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from musetalk_cli import ending
from musetalk_cli.app.model_choice import count_cores
from musetalk_cli.errors import ClusterError, system_words
from musetalk_cli.installation import install_command

LOCAL = "local"
# Of `local`: every port on the loopback address only, no figures sent to Ray's makers, and the same share of a busy
# machine as without it; Ray's own default is a niceness of 15.
_LOCAL_ENVIRONMENT = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",
}
# Ray asks 20 times, for ten minutes, whether an address that is out of date has a cluster.
_ENVIRONMENT = {"RAY_NUM_REDIS_GET_RETRIES": "2"}
_CONNECT_S = 5.0
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_START = "ray start --head starts a cluster; --ray local needs none"
# Results are small: the least that Ray takes, rather than a third of the memory.
_OBJECT_STORE_BYTES = 80 << 20


class WorkerLostError(Exception):
    """A worker's process or machine has ended."""


@dataclass(frozen=True)
class Node:
    """A machine of the cluster: logical cores and GPUs that Ray hands out there, its ID and its address."""

    num_cpus: float
    num_gpus: float
    node_id: str = ""
    address: str = ""


class Actors(Protocol):
    """Machines, and workers that run on them. All methods but ``close`` are called on one thread."""

    def nodes(self) -> list[Node]:
        """The machines that are there now."""

    def call(self, worker: Any, method: str, *args: object) -> Any:
        """Call a method of a worker; a key for ``wait`` and ``result``."""

    def wait(self, calls: Sequence[Any], timeout_s: float) -> list[Any]:
        """Those of the calls that have ended; waits for the first."""

    def result(self, call: Any) -> Any:
        """What an ended call returned. Raises WorkerLostError, or what the method raised."""

    def kill(self, worker: Any) -> None:
        """End a worker's process."""

    def close(self) -> None:
        """Leave the cluster; one of our own ends."""


class Cluster(Actors, Protocol):
    """A cluster that renders files."""

    def start_worker(self, num_jobs: int, num_cpus: int, num_gpus: int, environment: Mapping[str, str]) -> Any:
        """Ask for a worker; it takes calls as soon as there is room for it."""


class RayCluster:
    """A cluster that Ray has at an address. ``local`` is one of our own on this machine, which ends with us."""

    def __init__(self, address: str) -> None:
        """Connect, on the main thread: the processes of ``local`` end with the thread that started them.

        Raises ClusterError.
        """
        self._folder: Path | None = None
        _check_address(os.environ.get("RAY_ADDRESS", address) if address == "auto" else address)
        os.environ.update(_LOCAL_ENVIRONMENT if address == LOCAL else _ENVIRONMENT)  # before Ray is loaded
        try:
            import ray
        except ImportError as error:
            raise ClusterError(f"--ray needs Ray: {error}", hint=install_command("ray")) from None
        self._ray = ray
        _keep_stdout_clean()
        logging.getLogger("ray").setLevel(logging.CRITICAL)
        options: dict[str, Any] = {"log_to_driver": False, "configure_logging": False, "logging_level": "critical"}
        if address == LOCAL:
            self._folder = Path(tempfile.mkdtemp(prefix="musetalk-ray-", dir=_short_folder()))
            ending.on_leaving(self._remove_folder)
            options |= {"num_cpus": count_cores(), "include_dashboard": False, "_temp_dir": str(self._folder)}
            options |= {"object_store_memory": _OBJECT_STORE_BYTES}
        try:
            with _own_handler():
                ray.init(address, **options)
        except Exception as error:
            self.close()
            raise ClusterError(f"no Ray cluster at {address}: {_first_line(error)}", hint=_START) from None

    def nodes(self) -> list[Node]:
        found = [(node["Resources"], node) for node in self._ray.nodes() if node["Alive"]]
        return [
            Node(has.get("CPU", 0.0), has.get("GPU", 0.0), node["NodeID"], node["NodeManagerAddress"])
            for has, node in found
        ]

    def start_worker(self, num_jobs: int, num_cpus: int, num_gpus: int, environment: Mapping[str, str]) -> Any:
        from musetalk_cli.app.cluster.worker import NUM_OTHER_CALLS, Worker

        # Neither restarts nor retries of Ray's: it would wait for room for the same worker, while others are idle.
        options = {"num_cpus": num_cpus, "num_gpus": num_gpus, "max_restarts": 0, "max_task_retries": 0}
        kind = self._ray.remote(Worker).options(
            **options, max_concurrency=2 * num_jobs + NUM_OTHER_CALLS, scheduling_strategy="SPREAD"
        )
        return kind.remote(num_jobs, dict(environment))

    def start_on(self, node: Node, kind: type, num_calls: int, *args: object) -> Any:
        """Ask for an actor that takes the whole of a machine, and ``num_calls`` calls at once."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        options = {"num_cpus": int(node.num_cpus), "num_gpus": int(node.num_gpus)}
        where = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
        actor = self._ray.remote(kind).options(
            **options, max_restarts=0, max_task_retries=0, max_concurrency=num_calls, scheduling_strategy=where
        )
        return actor.remote(*args)

    def call(self, worker: Any, method: str, *args: object) -> Any:
        return getattr(worker, method).remote(*args)

    def wait(self, calls: Sequence[Any], timeout_s: float) -> list[Any]:
        if not calls:
            time.sleep(timeout_s)
            return []
        ended, _ = self._ray.wait(list(calls), num_returns=1, timeout=timeout_s)
        if ended and len(calls) > 1:
            ended, _ = self._ray.wait(list(calls), num_returns=len(calls), timeout=0)
        return list(ended)

    def result(self, call: Any) -> Any:
        from ray.exceptions import RayError, RayTaskError

        try:
            return self._ray.get(call)
        except RayTaskError:
            raise
        except RayError as error:
            raise WorkerLostError(_first_line(error)) from None

    def kill(self, worker: Any) -> None:
        with contextlib.suppress(Exception):  # it has ended
            self._ray.kill(worker)

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self._ray.shutdown()
        self._remove_folder()

    def _remove_folder(self) -> None:
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)


def _check_address(address: str) -> None:
    """Raise ClusterError when nothing answers at ``host:port``; Ray itself would try for minutes."""
    host, colon, port = address.rpartition(":")
    if not colon or "/" in address or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(f"no Ray cluster at {address}: {system_words(error)}", hint=_START) from None


@contextlib.contextmanager
def _own_handler() -> Iterator[None]:
    """Ray leaves a handler of SIGTERM behind, which ends with the signal's bare number."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except ending.SignalExit:  # of our own handlers, which know the signal
        raise
    except SystemExit:
        raise ending.SignalExit(128 + signal.SIGTERM) from None
    finally:
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def _keep_stdout_clean() -> None:
    """Ray prints what becomes of machines to standard output, which is the report's, and has no option for that."""
    from ray._private import worker

    if hasattr(worker, "_worker_logs_enabled"):
        worker._worker_logs_enabled = False


def _short_folder() -> str | None:
    """Where folders have short names, as sockets need: a Mac's own for temporary files has not."""
    return "/tmp" if Path("/tmp").is_dir() else None  # noqa: S108 - the folder itself has a name of its own


def _first_line(error: Exception) -> str:
    """What Ray says, without a traceback: where an actor did not start, the line below it has the reason."""
    lines = [line.strip() for line in _COLOURS.sub("", str(error)).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return lines[-1] if "creation task" in lines[0] else lines[0]
