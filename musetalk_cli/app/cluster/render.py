"""Where a batch is rendered: in this process, or with ``--ray`` by the workers of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from musetalk_cli.app.batch.run import BatchRequest, render_batch

__all__ = ["BatchRequest", "render_batch_at"]

if TYPE_CHECKING:
    from musetalk_cli.app.batch.item import BatchItem, ItemResult
    from musetalk_cli.app.batch.run import Run
    from musetalk_cli.configuration.schema import Config
    from musetalk_cli.engine.types.messages import Tell


def render_batch_at(config: Config, request: BatchRequest, address: str | None, num_cpus: int | None) -> int:
    """Render all items on the cluster at an address, or in this process. Returns and raises as ``render_batch``.

    ``num_cpus``: logical cores of a worker; None: as many as are quick.
    """
    if address is None:
        return render_batch(config, request)
    from musetalk_cli.app.cluster.ray_cluster import LOCAL, RayCluster
    from musetalk_cli.app.cluster.run import ClusterRun
    from musetalk_cli.app.cluster.sizing import size_workers

    def open_run(items: Iterable[BatchItem], folder: str, tell: Tell, on_done: Callable[[ItemResult], None]) -> Run:
        cluster = RayCluster(address)
        try:
            size = size_workers(config, cluster.nodes(), num_cpus, request.num_jobs)
        except BaseException:
            cluster.close()
            raise
        return ClusterRun(items, cluster, size, folder, tell, on_done)

    return render_batch(config, replace(request, is_elsewhere=address != LOCAL, takes_stored=True), open_run)
