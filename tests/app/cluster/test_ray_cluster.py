"""What Ray says of a worker that is lost, in one line; and that signals stay ours while it starts."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any
from unittest.mock import Mock

import pytest

from musetalk_cli import ending
from musetalk_cli.app.cluster.ray_cluster import RayCluster, WorkerLostError

ray = pytest.importorskip("ray", reason="needs the extra ray")
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


def end_by_terminating(number: int, frame: object) -> None:
    sys.exit(number)


def end_by_interrupting(number: int, frame: object) -> None:
    raise ending.SignalExit(128 + signal.SIGINT)


@pytest.mark.parametrize(("end", "code"), [(end_by_terminating, 143), (end_by_interrupting, 130)])
def test_a_signal_while_ray_starts(monkeypatch: pytest.MonkeyPatch, end: Any, code: int) -> None:
    def init(address: str, **options: object) -> None:
        signal.signal(signal.SIGTERM, end)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_NUM_REDIS_GET_RETRIES", "2")  # which it sets
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as caught:
        RayCluster("auto")
    assert caught.value.code == code
    assert signal.getsignal(signal.SIGTERM) == before
