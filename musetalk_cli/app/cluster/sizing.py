"""How large a worker is, and how many machines have room for."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from musetalk_cli.app.batch.runner import MAX_DEFAULT_JOBS, default_jobs
from musetalk_cli.app.cluster.ray_cluster import Node
from musetalk_cli.errors import ClusterError

if TYPE_CHECKING:
    from musetalk_cli.configuration.schema import Config

DEFAULT_CPUS = 2


@dataclass(frozen=True)
class WorkerSize:
    """Logical cores and GPUs of a worker, and items that it renders at once."""

    num_cpus: int
    num_gpus: int
    num_jobs: int

    def count(self, nodes: Iterable[Node]) -> int:
        """How many of them machines have room for."""
        return sum(self._fit(node) for node in nodes)

    def _fit(self, node: Node) -> int:
        fit = int(node.num_cpus // self.num_cpus)
        return min(fit, int(node.num_gpus // self.num_gpus)) if self.num_gpus else fit


def size_workers(config: Config, nodes: Iterable[Node], num_cpus: int | None, num_jobs: int | None) -> WorkerSize:
    """What a worker gets: a GPU, where there are some and the settings may use them, and cores.

    Raises ClusterError where no machine has room for one.
    """
    nodes = list(nodes)
    most = max((int(node.num_cpus) for node in nodes), default=0)
    may_use_gpus = config.model != "warp" and config.device != "cpu"
    num_gpus = int(may_use_gpus and any(node.num_gpus >= 1 for node in nodes))
    cores = num_cpus or max(1, min(DEFAULT_CPUS, most))
    size = WorkerSize(cores, num_gpus, num_jobs or (MAX_DEFAULT_JOBS if num_gpus else default_jobs(cores)))
    if not size.count(nodes):
        hint = f"the largest has {most}; give fewer with --cpus-per-worker" if num_cpus else "start Ray on more"
        raise ClusterError(f"no machine of the cluster has {cores} cores for a worker", hint=hint)
    return size


def worker_environment() -> dict[str, str]:
    """The variables that workers take over: where avatars and weights are, and how libraries are set up."""
    names = ("OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "PYDANTIC_DISABLE_PLUGINS")
    found = {name: value for name, value in os.environ.items() if name.startswith("MUSETALK_") or name in names}
    if home := found.get("MUSETALK_HOME"):
        found["MUSETALK_HOME"] = str(Path(home).expanduser().absolute())
    return found
