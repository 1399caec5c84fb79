"""No child outlives us, even where we are killed with SIGKILL: a shell waits for our end, and then kills them.

A child that reads a silent pipe or waits for a network would run on for good. PR_SET_PDEATHSIG is no help: it takes the
thread that started the child for its parent, and needs code between fork and exec.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading

# Reads "+ PID" and "- PID" until the pipe closes, which it does when the last process that can write to it is gone.
_SCRIPT = """
pids=
while read -r sign pid; do
  rest=
  for other in $pids; do [ "$other" = "$pid" ] || rest="$rest $other"; done
  [ "$sign" = + ] && rest="$rest $pid"
  pids=$rest
done
for pid in $pids; do kill -9 "$pid" 2>/dev/null; done
exit 0
"""
_SHELL = "/bin/sh"


class Reaper:
    """Kills the children that it was told of when this process has ended without having waited for them.

    It is a process only while there are children. Safe to call from any thread; without a shell, it does nothing.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pids: set[int] = set()
        self._shell: subprocess.Popen[bytes] | None = None

    def add(self, pid: int) -> None:
        """A child has been started."""
        with self._lock:
            self._shell = self._shell or _start_shell()
            self._pids.add(pid)
            self._say("+", pid)

    def remove(self, pid: int) -> None:
        """A child has ended and been waited for: its number may be another process's soon."""
        with self._lock:
            if pid not in self._pids:
                return
            self._pids.discard(pid)
            self._say("-", pid)
            if not self._pids:
                self._end()

    def forget(self) -> None:
        """In a forked process: the children are the parent's, and so is the shell."""
        shell, self._shell = self._shell, None
        self._lock, self._pids = threading.Lock(), set()
        if shell and shell.stdin:
            shell.stdin.close()
            shell.returncode = 0  # it is not ours to wait for

    def _say(self, sign: str, pid: int) -> None:
        if self._shell and self._shell.stdin:
            with contextlib.suppress(OSError):
                self._shell.stdin.write(f"{sign} {pid}\n".encode())

    def _end(self) -> None:
        shell, self._shell = self._shell, None
        if shell and shell.stdin:
            with contextlib.suppress(OSError):
                shell.stdin.close()
            shell.wait()


def _start_shell() -> subprocess.Popen[bytes] | None:
    if sys.platform == "win32":
        return None
    try:
        return subprocess.Popen(
            [_SHELL, "-c", _SCRIPT],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,  # Ctrl-C in the terminal is for us
            cwd="/",
        )
    except OSError:
        return None


reaper = Reaper()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=reaper.forget)
