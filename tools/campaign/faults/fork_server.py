"""Commands that begin as forks of a process in which everything is loaded already, which saves half their time.

``python -m tools.campaign.faults.fork_server FD MODULES`` serves requests from a socket. What happens in the start of a
process is tested on real ones.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools.campaign.faults.refusals import hand_over

PR_SET_CHILD_SUBREAPER = 36
MAX_BYTES = 1 << 20
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STREAMS = ("r", "w", "w")  # how stdin, stdout and stderr are opened
# Says which modules a command has loaded at its end.
LIST_MODULES = """
import atexit, sys
path = sys.argv.pop(1)
atexit.register(lambda: open(path, "a").write("\\n".join(sys.modules) + "\\n"))
from musetalk_cli.__main__ import main
main()
"""


class ForkServer:
    """Starts commands on request. Their parent is this process, since it is made the heir of orphans."""

    def __init__(self, modules: Path, environment: Mapping[str, str]) -> None:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        own, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", "tools.campaign.faults.fork_server", str(other.fileno()), str(modules)]
        self._child = subprocess.Popen(command, env=dict(environment), pass_fds=[other.fileno()])
        other.close()
        self._socket, self._lock = own, threading.Lock()

    def start(
        self,
        args: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        fds: Sequence[int],
        watched: Sequence[int] = (),
    ) -> int:
        """Start a command.

        Args:
            args: of ``musetalk``.
            folder: its current one.
            environment: all of it.
            fds: become its stdin, stdout and stderr; a fourth is the channel for ``watched``.
            watched: the numbers of system calls that are asked for.

        Returns:
            The process's number.
        """
        request = json.dumps(
            {"args": list(args), "folder": str(folder), "environment": dict(environment), "watched": list(watched)}
        ).encode()
        with self._lock:
            socket.send_fds(self._socket, [request], list(fds))
            return int(self._socket.recv(64))

    def close(self) -> None:
        self._socket.close()
        self._child.wait()


def serve(fd: int, modules: Path) -> None:
    """Load, then fork for each request until the other end is closed."""
    load(modules)
    with socket.socket(fileno=fd) as requests:
        while True:
            message, fds, _, _ = socket.recv_fds(requests, MAX_BYTES, 4)
            if not message:
                return
            reading, writing = os.pipe()
            # A signal that comes before the command has its own stderr would be told on this one.
            signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
            middle = os.fork()
            if middle == 0:
                pid = os.fork()
                if pid == 0:
                    os.close(reading)
                    os.close(writing)
                    requests.close()
                    run(json.loads(message), fds)
                os.write(writing, str(pid).encode())
                os._exit(0)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            os.waitpid(middle, 0)  # from now on, the command is the child of who asked
            requests.send(os.read(reading, 64))
            for each in (reading, writing, *fds):
                os.close(each)


def run(request: dict[str, object], fds: list[int]) -> None:
    """In the fork: become the command. Does not return."""
    from musetalk_cli.__main__ import main

    os.setsid()
    channel = socket.socket(fileno=fds.pop()) if len(fds) > len(STREAMS) else None
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
        os.close(fd)
    os.chdir(str(request["folder"]))
    environment = request["environment"]
    assert isinstance(environment, dict)
    os.environ.clear()
    os.environ.update(environment)
    args = request["args"]
    assert isinstance(args, list)
    sys.argv[1:] = args
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(fd, mode, closefd=False) for fd, mode in enumerate(STREAMS))
    sys.stderr.reconfigure(line_buffering=True)  # type: ignore[attr-defined]
    if channel is not None:
        watched = request["watched"]
        assert isinstance(watched, list)
        hand_over(watched, channel)
        channel.close()
    code = 1
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        main()
    except KeyboardInterrupt:  # before a handler of ours: Python ends itself by the signal
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        threading._shutdown()  # type: ignore[attr-defined]  # as at the end of an interpreter
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


def load(modules: Path) -> None:
    """Import what commands import, and nothing that starts a thread."""
    from musetalk_cli.__main__ import set_up_libraries

    set_up_libraries()
    for name in dict.fromkeys(modules.read_text().split()):
        if name.partition(".")[0] not in ("torch", "__main__"):
            with contextlib.suppress(Exception):
                importlib.import_module(name)
    assert threading.active_count() == 1


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]))
