"""The host's account of its processes; with real sessions it is tested in test_workers.py."""

from __future__ import annotations

import os
import socket
import sys

import pytest

from musetalk_cli.serve.worker.host import ForkingHost


@pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux")
def test_a_process_whose_end_is_seen_before_its_connection_is_forgotten() -> None:
    """Its number may be another process's by the time at which the host kills those that are left."""
    with socket.socket(socket.AF_UNIX) as listener:
        host = ForkingHost(listener, lambda connection: None, 1)
        os.set_blocking(host._ended, False)
        pid = os.posix_spawn("/bin/true", ["true"], {})
        host._spare.add(pid)
        os.write(host._takes, pid.to_bytes(4, "little"))
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        host._note_taken(set())  # it looked for what could be read just before
        host._reap()
        host._note_taken({host._taken})
        assert host._busy == host._spare == set()
        host._end()
        for fd in (host._alive, host._taken, host._takes, host._ended, host._wakes):
            os.close(fd)
