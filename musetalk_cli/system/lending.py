"""Large arrays into a pipe, without a copy: on Linux it is lent the pages in which they lie."""

from __future__ import annotations

import ctypes
import errno
import sys
from collections import deque
from typing import Any

from musetalk_cli.system.pipes import write_all

# Below this, lending pages takes longer than copying them.
LEAST_BYTES = 1 << 16
_GET_PIPE_SIZE = 1032  # F_GETPIPE_SZ, which Python knows from 3.10 on


class _Part(ctypes.Structure):
    _fields_ = (("address", ctypes.c_void_p), ("num_bytes", ctypes.c_size_t))


class LendingWriter:
    """Writes to a pipe whose other end is read, and not spliced further; one thread calls it.

    What was written must not change until it has been read. It is kept until then: as long as the pipe has room for
    it, which a page takes as a whole however little of it was lent. Keep this object until the reader has ended.
    """

    def __init__(self, fd: int) -> None:
        """``fd``: the writing end, which stays the caller's."""
        self._fd, self._num_written = fd, 0
        self._capacity = _pipe_bytes(fd)
        self._lend = _find_vmsplice() if self._capacity else None
        self._lent: deque[tuple[memoryview, int]] = deque()  # and how much had been written with each

    def write(self, data: memoryview) -> None:
        """Write everything, however long that takes. Raises as ``write_some``."""
        self._num_written += len(data)
        if self._lend is None or data.readonly or len(data) < LEAST_BYTES:
            write_all(self._fd, data)
            return
        self._lent.append((data, self._num_written))
        num_lent = self._lend_pages(data)
        if num_lent < len(data):
            self._lend = None  # a system without it, or where it is forbidden
            write_all(self._fd, data[num_lent:])
        while self._num_written - self._lent[0][1] >= self._capacity:
            self._lent.popleft()

    def _lend_pages(self, data: memoryview) -> int:
        """Lend the pages of all bytes; how many have been. Raises BrokenPipeError when the reader has gone."""
        assert self._lend is not None  # noqa: S101 - as the only caller made sure
        start, num_lent = ctypes.addressof(ctypes.c_char.from_buffer(data)), 0
        while num_lent < len(data):
            part = _Part(start + num_lent, len(data) - num_lent)
            added = self._lend(self._fd, ctypes.byref(part), 1, 0)
            if added > 0:
                num_lent += added
                continue
            reason = ctypes.get_errno()
            if reason == errno.EPIPE:
                raise BrokenPipeError(reason, "the reader has gone")
            if reason != errno.EINTR:
                break
        return num_lent


def _pipe_bytes(fd: int) -> int:
    """How much a pipe holds; 0 where that is not known."""
    if sys.platform != "linux":
        return 0
    import fcntl

    try:
        return fcntl.fcntl(fd, _GET_PIPE_SIZE)
    except OSError:  # no pipe
        return 0


def _find_vmsplice() -> Any:
    """The function of the C library, None where there is none."""
    try:
        function = ctypes.CDLL(None, use_errno=True).vmsplice
    except (OSError, AttributeError):
        return None
    function.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint]
    function.restype = ctypes.c_ssize_t
    return function
