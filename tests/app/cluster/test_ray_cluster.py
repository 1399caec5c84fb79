"""What Ray says of a worker that is lost, in one line."""

from __future__ import annotations

from unittest.mock import Mock

import pytest

from musetalk_cli.app.cluster.ray_cluster import RayCluster, WorkerLostError

exceptions = pytest.importorskip("ray.exceptions", reason="needs the extra ray")


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            "The actor died because of an error raised in its creation task, \x1b[36mray::Machine.__init__()\x1b[39m\n"
            "RuntimeError: The actor with name Machine failed to import on the worker:\n\n"
            "  File \"main.py\", line 1, in <module>\nModuleNotFoundError: No module named 'uvicorn'\n",
            "ModuleNotFoundError: No module named 'uvicorn'",
        ),
        ("\nThe actor died unexpectedly.\n\tclass_name: Machine\n", "The actor died unexpectedly."),
        ("", "RayError"),
    ],
)
def test_the_reason_of_a_loss(said: str, reason: str) -> None:
    cluster = RayCluster.__new__(RayCluster)
    cluster._ray = Mock()
    cluster._ray.get.side_effect = exceptions.RayError(said)
    with pytest.raises(WorkerLostError) as caught:
        cluster.result(object())
    assert str(caught.value) == reason
