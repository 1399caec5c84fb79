"""A machine of a cluster, as the server that places sessions knows it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from musetalk_cli import __version__
from musetalk_cli.app.cluster.ray_cluster import Node
from musetalk_cli.serve.cluster.origins import ToldOrigins
from musetalk_cli.serve.cluster.placement import Load
from musetalk_cli.serve.cluster.session_machine import MachineReady, MachineState

SILENT_S = 10.0  # a machine that has not answered for so long gets no sessions


@dataclass(eq=False)
class Machine:
    """A machine with a server. ``address``, ``http://host:port/``, is empty until it takes sessions."""

    node: Node
    worker: Any
    name: str = ""
    address: str = ""
    load: Load = field(default_factory=lambda: Load(1))
    is_ready: bool = False
    is_asked: bool = False
    heard_at: float = 0.0
    origins: ToldOrigins = field(default_factory=ToldOrigins)

    @property
    def has_answered(self) -> bool:
        """Whether it takes sessions and has answered lately."""
        return bool(self.address) and time.monotonic() < self.heard_at + SILENT_S

    def pass_over(self) -> None:
        """Give it no sessions until it answers."""
        self.heard_at = float("-inf")

    def begin(self, ready: MachineReady) -> None:
        """Its server takes sessions."""
        self.address = ready.address
        self.name = f"{ready.machine} ({ready.address.removeprefix('http://').rstrip('/')})"
        self.load = Load(ready.max_sessions)
        self.is_ready, self.heard_at = True, time.monotonic()

    def note(self, state: MachineState) -> None:
        """Take over what it says."""
        self.load.note(state.num_sessions, state.num_opened)
        self.is_ready, self.heard_at = state.is_ready, time.monotonic()


def find_problem(ready: MachineReady) -> str:
    """Why a machine gets no sessions, empty where it does."""
    if not ready.error and ready.version != __version__:
        return f"it has musetalk {ready.version}, and this is {__version__}"
    return ready.error
