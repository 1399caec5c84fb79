"""When a machine of a cluster gets sessions."""

from __future__ import annotations

import pytest

from fixtures.fake_machines import make_machine
from musetalk_cli.app.cluster.ray_cluster import Node
from musetalk_cli.serve.cluster import machine as module
from musetalk_cli.serve.cluster.machine import SILENT_S, Machine
from musetalk_cli.serve.cluster.session_machine import MachineState


def test_a_machine_has_answered_until_it_is_silent_or_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    machine = Machine(Node(2.0, 0.0, "a", "10.0.0.1"), None, heard_at=now)
    assert not machine.has_answered  # it takes no sessions yet
    machine.begin(make_machine("one").ready)
    assert (machine.has_answered, machine.name) == (True, "one (one:8900)")
    now += SILENT_S
    assert not machine.has_answered
    machine.note(MachineState(1, 1, is_ready=True))
    assert machine.has_answered
    machine.pass_over()
    assert not machine.has_answered
