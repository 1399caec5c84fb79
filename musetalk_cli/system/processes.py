"""Child processes, and other people's."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any


def own_group() -> dict[str, Any]:
    """Arguments of ``Popen`` for a child that Ctrl-C in the terminal does not reach: we decide what it means."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": True}


def is_alive(pid: int) -> bool:
    """Whether a process of that number runs, whoever started it."""
    if sys.platform == "win32":  # there, os.kill ends it
        import psutil

        return bool(psutil.pid_exists(pid))
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # another user's
    return True
