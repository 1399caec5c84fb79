"""Reading a pipe that may say nothing for long, so that the wait can be ended and what waits can be dropped."""

from __future__ import annotations

import os
import select
import stat
import struct
import sys
import threading
from typing import Protocol

# A reader in a thread takes this much ahead; whatever writes then waits, as it does for a full pipe.
AHEAD_BYTES = 1 << 20
STEP_BYTES = 1 << 14


class PipeReader(Protocol):
    """One thread reads; any may drop and stop."""

    def wait(self) -> bool:
        """Wait until there is something to read, or the end; False after ``stop``."""

    def read(self, num_bytes: int) -> bytes | None:
        """What is there, at most so much, without waiting: None for nothing yet, empty at the end."""

    def take_waiting(self, multiple: int = 1) -> bytes:
        """What waits now, a ``multiple`` of so many bytes. A file has nothing that waits: it is read when we like."""

    def stop(self) -> None:
        """End a ``wait``; may be called from any thread, also after ``close``."""

    def close(self) -> None:
        """Release all but the descriptor, which is the caller's. May be called twice."""


def open_reader(fd: int) -> PipeReader:
    """What this system can do. The descriptor stays the caller's."""
    return ThreadedReader(fd) if sys.platform == "win32" else PolledReader(fd)


class PolledReader:
    """Asks the system whether there is something to read."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._wake_read, self._wake_write = os.pipe()

    def wait(self) -> bool:
        return self._wake_read not in select.select([self._fd, self._wake_read], [], [])[0]

    def read(self, num_bytes: int) -> bytes | None:
        return os.read(self._fd, num_bytes) if select.select([self._fd], [], [], 0)[0] else None

    def take_waiting(self, multiple: int = 1) -> bytes:
        return read_waiting(self._fd, multiple)

    def stop(self) -> None:
        if self._wake_write >= 0:
            os.write(self._wake_write, b".")

    def close(self) -> None:
        if self._wake_write >= 0:
            os.close(self._wake_write)
            os.close(self._wake_read)
            self._wake_write = -1


class ThreadedReader:
    """Reads ahead in a thread, which cannot be ended while it waits: it is left behind when we end."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._is_file = stat.S_ISREG(os.fstat(fd).st_mode)
        self._changed = threading.Condition()
        self._ahead = bytearray()
        self._has_ended = self._is_stopped = False
        self._error: OSError | None = None
        threading.Thread(target=self._run, name="musetalk-reader", daemon=True).start()

    def wait(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._ahead or self._has_ended or self._is_stopped)
            return not self._is_stopped

    def read(self, num_bytes: int) -> bytes | None:
        with self._changed:
            if self._ahead:
                return self._take(num_bytes)
            if self._error:
                raise self._error
            return b"" if self._has_ended else None

    def take_waiting(self, multiple: int = 1) -> bytes:
        with self._changed:
            return b"" if self._is_file else self._take(len(self._ahead) // multiple * multiple)

    def stop(self) -> None:
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    close = stop

    def _take(self, num_bytes: int) -> bytes:
        data = bytes(self._ahead[:num_bytes])
        del self._ahead[:num_bytes]
        self._changed.notify_all()
        return data

    def _run(self) -> None:
        data = b"."
        while data and not self._is_stopped:
            try:
                data = os.read(self._fd, STEP_BYTES)
            except OSError as error:
                self._error, data = error, b""
            with self._changed:
                self._ahead += data
                self._has_ended = not data
                self._changed.notify_all()
                self._changed.wait_for(lambda: len(self._ahead) < AHEAD_BYTES or self._is_stopped)


def read_waiting(fd: int, multiple: int = 1) -> bytes:
    """What waits in a pipe or socket now, a ``multiple`` of so many bytes, without waiting for more. A file has nothing
    that waits: it is read when we like."""
    if stat.S_ISREG(os.fstat(fd).st_mode) or sys.platform == "win32":
        return b""
    import fcntl
    import termios

    try:
        (num_bytes,) = struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, b"\0" * 4))
    except OSError:
        return b""  # a device that cannot say
    data, num_bytes = b"", num_bytes // multiple * multiple
    while len(data) < num_bytes and (part := os.read(fd, num_bytes - len(data))):
        data += part
    return data
