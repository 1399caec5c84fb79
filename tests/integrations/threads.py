"""Threads of sessions."""

from __future__ import annotations

import threading

PATIENCE_S = 10.0


def left_threads() -> list[str]:
    """The names of a session's threads that do not end by themselves."""
    own = [thread for thread in threading.enumerate() if thread.name.startswith("musetalk")]
    for thread in own:
        thread.join(PATIENCE_S)
    return [thread.name for thread in own if thread.is_alive()]
