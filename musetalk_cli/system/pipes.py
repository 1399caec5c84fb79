"""Pipes: how large, when ready, and when their reader has gone."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import sys
from typing import IO

# Windows waits for sockets alone; there, writing to a pipe blocks until its reader takes something.
CAN_WAIT = sys.platform != "win32"
# A pipe that is ready takes at least this much without blocking (POSIX's least PIPE_BUF is 512, Linux's 4096).
STEP_BYTES = min(getattr(select, "PIPE_BUF", 512), 4096)
# The largest pipe an unprivileged Linux process may ask for: a whole 768² frame in one write instead of fourteen.
PIPE_BYTES = 1 << 20
# A write that finds no reader: what Windows says instead of EPIPE.
_NO_READER = (errno.EPIPE, errno.EINVAL) if sys.platform == "win32" else (errno.EPIPE,)


def widen(pipe: int | IO[bytes]) -> None:
    """Let a pipe hold a whole frame, where the system can."""
    if sys.platform == "win32":
        return
    import fcntl

    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with contextlib.suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def unblock(pipe: IO[bytes]) -> None:
    """From now on a write takes what there is room for, where ``wait_writable`` can tell when that is."""
    if CAN_WAIT:
        os.set_blocking(pipe.fileno(), False)


def wait_writable(fd: int, limit_s: float) -> bool:
    """Whether a pipe or device takes ``STEP_BYTES`` within ``limit_s``; where nothing can tell, the write waits."""
    return not CAN_WAIT or bool(select.select([], [fd], [], limit_s)[1])


def has_lost_reader(fd: int) -> bool:
    """Whether a pipe's reader has gone; where nothing can tell, it has not."""
    if not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(fd, 0)  # what is reported in any case: errors
    return any(event & select.POLLERR for _, event in poll.poll(0))


def write_some(fd: int, data: memoryview) -> memoryview:
    """Write what there is room for; the rest. Raises BrokenPipeError when the reader has gone, and OSError."""
    try:
        return data[os.write(fd, data) :]
    except OSError as error:
        if error.errno in _NO_READER:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) from error
        raise


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write everything, however long that takes. Raises as ``write_some``."""
    view = memoryview(data)
    while view:
        view = write_some(fd, view)
