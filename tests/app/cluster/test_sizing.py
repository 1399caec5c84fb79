"""How large workers are on which machines."""

from __future__ import annotations

from dataclasses import replace

import pytest

from musetalk_cli.app.cluster.ray_cluster import Node
from musetalk_cli.app.cluster.sizing import WorkerSize, size_workers
from musetalk_cli.configuration.schema import Config
from musetalk_cli.errors import ClusterError

HEAD, SMALL, LARGE, GPUS = Node(0, 0), Node(1, 0), Node(8, 0), Node(16, 2)


@pytest.mark.parametrize(
    ("nodes", "num_cpus", "model", "size", "num_workers"),
    [
        ([LARGE, LARGE, HEAD], None, "auto", WorkerSize(2, 0, 2), 8),
        ([SMALL, SMALL], None, "auto", WorkerSize(1, 0, 1), 2),
        ([LARGE], 3, "auto", WorkerSize(3, 0, 3), 2),
        ([GPUS, LARGE], None, "auto", WorkerSize(2, 1, 3), 2),
        ([GPUS, LARGE], 12, "musetalk-1.5", WorkerSize(12, 1, 3), 1),
        ([GPUS, LARGE], None, "warp", WorkerSize(2, 0, 2), 12),
    ],
)
def test_workers_fill_the_machines(
    nodes: list[Node], num_cpus: int | None, model: str, size: WorkerSize, num_workers: int
) -> None:
    found = size_workers(replace(Config(), model=model), nodes, num_cpus, None)
    assert (found, found.count(nodes)) == (size, num_workers)


@pytest.mark.parametrize(("nodes", "num_cpus"), [([HEAD], None), ([], None), ([LARGE], 9)])
def test_a_worker_that_fits_nowhere_is_refused(nodes: list[Node], num_cpus: int | None) -> None:
    with pytest.raises(ClusterError, match="no machine of the cluster has"):
        size_workers(Config(), nodes, num_cpus, None)
