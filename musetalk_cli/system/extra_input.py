"""A second input for a child process, beside its stdin.

POSIX hands a child any open descriptor. Windows hands it three, so there the child calls us, on a socket of this
machine's own.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from musetalk_cli.system.pipes import write_all

if TYPE_CHECKING:  # loaded where a socket is opened
    import socket

CALL_S = 0.1  # how long the child's end may go unnoticed while it is waited for


class ExtraInput(Protocol):
    """What is written to it is read by the child. One thread writes; ``close`` ends the input."""

    @property
    def url(self) -> str:
        """What ffmpeg opens."""

    @property
    def pass_fds(self) -> tuple[int, ...]:
        """For Popen."""

    def connect(self, pid: int, is_running: Callable[[], bool]) -> None:
        """The child has been started: its number, and whether it still runs."""

    def write(self, data: bytes | memoryview) -> None:
        """Write everything. Raises BrokenPipeError when the child has gone."""

    def close(self) -> None:
        """May be called twice, and before ``connect``."""


def open_extra_input() -> ExtraInput:
    """What this system has: a pipe, or a socket. Raises OSError."""
    return SocketInput() if sys.platform == "win32" else PipeInput()


class PipeInput:
    """A pipe of which the child gets the reading end, under the same number."""

    def __init__(self) -> None:
        self._read_fd, self._write_fd = os.pipe()
        self.url = f"pipe:{self._read_fd}"
        self.pass_fds = (self._read_fd,)

    def connect(self, pid: int, is_running: Callable[[], bool]) -> None:
        self._read_fd = _close(self._read_fd)

    def write(self, data: bytes | memoryview) -> None:
        write_all(self._write_fd, data)

    def close(self) -> None:
        self._read_fd, self._write_fd = _close(self._read_fd), _close(self._write_fd)


class SocketInput:
    """A listener on the loopback interface that takes one call, the child's."""

    pass_fds: tuple[int, ...] = ()

    def __init__(self) -> None:
        import socket

        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1)
        self._connection: socket.socket | None = None
        self._is_closed = False
        self.url = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"

    def connect(self, pid: int, is_running: Callable[[], bool]) -> None:
        self._pid, self._is_running = pid, is_running

    def write(self, data: bytes | memoryview) -> None:
        connection = self._connection or self._accept()
        try:
            connection.sendall(data)
        except OSError as error:
            raise BrokenPipeError(*error.args) from error

    def close(self) -> None:
        self._is_closed = True
        self._listener.close()
        if self._connection is not None:
            self._connection.close()

    def _accept(self) -> socket.socket:
        """Waits for the child, which calls when it has read of its first input."""
        from socket import IPPROTO_TCP, TCP_NODELAY

        self._listener.settimeout(CALL_S)
        while self._is_running() and not self._is_closed:
            with contextlib.suppress(TimeoutError):
                connection, (_, port) = self._listener.accept()
                if not _is_from(self._pid, port):
                    connection.close()
                    continue
                self._listener.close()
                connection.settimeout(None)
                connection.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
                self._connection = connection
                return connection
        raise BrokenPipeError("the child has ended")


def _is_from(pid: int, port: int) -> bool:
    """Whether a port is that child's: any process of this machine may call. Where nobody can tell, it is."""
    import psutil

    child = psutil.Process(pid)
    try:
        found = (child.net_connections if hasattr(child, "net_connections") else child.connections)("tcp4")
    except psutil.Error:
        return True
    return any(each.laddr and each.laddr.port == port for each in found)


def _close(fd: int) -> int:
    if fd >= 0:
        os.close(fd)
    return -1
