"""System calls that fail, without strace: a filter hands them to this process, which counts them and refuses one.

seccomp_unotify(2), Linux 5.5 and newer, x86-64. Only the chosen call takes a way round; all others are as fast as ever.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import select
import signal
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from fcntl import ioctl

# Numbers of x86-64, <asm/unistd_64.h>.
NUMBERS = {
    "read": 0, "write": 1, "close": 3, "poll": 7, "lseek": 8, "mmap": 9, "dup2": 33, "socket": 41, "connect": 42,
    "sendto": 44, "clone": 56, "vfork": 58, "execve": 59, "wait4": 61, "fcntl": 72, "flock": 73, "ftruncate": 77,
    "fsync": 74, "rename": 82, "mkdir": 83, "rmdir": 84, "unlink": 87, "chmod": 90, "fchmod": 91, "getdents64": 217,
    "openat": 257, "unlinkat": 263, "pipe2": 293, "prlimit64": 302, "renameat2": 316, "clone3": 435,
}  # fmt: skip
PR_SET_NO_NEW_PRIVS, SYS_SECCOMP = 38, 317
SET_MODE_FILTER, NEW_LISTENER = 1, 1 << 3
RET_ALLOW, RET_USER_NOTIF = 0x7FFF0000, 0x7FC00000
LOAD_NUMBER, EQUALS, RETURN = (0x20, 0, 0, 0), 0x15, 0x06  # BPF: the call's number is the first word
RECEIVE, SEND = 0xC0502100, 0xC0182101
REQUEST, ANSWER = struct.Struct("<QIIi60x"), struct.Struct("<QqiI")
CONTINUE = 1
POLL_MS = 200


class Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def can_refuse() -> bool:
    """Whether this machine has the call."""
    release = tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2])
    return platform.machine() == "x86_64" and release >= (5, 5)


def hand_over(numbers: Sequence[int], channel: socket.socket) -> None:
    """In the process that is to be watched: have all calls of these numbers asked for, and send the fd that answers."""
    libc = ctypes.CDLL(None, use_errno=True)
    end = len(numbers)  # each comparison jumps behind the return that allows
    rows = [LOAD_NUMBER, *((EQUALS, end - index, 0, number) for index, number in enumerate(numbers))]
    rows += [(RETURN, 0, 0, RET_ALLOW), (RETURN, 0, 0, RET_USER_NOTIF)]
    program = Program(len(rows), b"".join(struct.pack("<HBBI", *row) for row in rows))
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    listener = libc.syscall(SYS_SECCOMP, SET_MODE_FILTER, NEW_LISTENER, ctypes.byref(program))
    if listener < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    socket.send_fds(channel, [b"x"], [listener])
    os.close(listener)


class Refusals:
    """Answers for the calls of one command: those of ``names`` from ``first`` to ``last`` get ``error``, or without one
    end the process.

    ``counts`` has the calls by name. Used as a context; ``channel`` is handed to the command.
    """

    def __init__(self, names: Sequence[str], first: int, last: int, error: str) -> None:
        self._names = {NUMBERS[name]: name for name in names}
        self._range, self._error = range(first, last + 1), getattr(errno, error) if error else 0
        self.counts = Counter[str]()
        self._own, self.channel = socket.socketpair()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Refusals:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._is_over.set()
        self._thread.join()
        self._own.close()
        self.channel.close()

    @property
    def watched(self) -> tuple[list[int], int]:
        """The numbers, and the channel's."""
        return list(self._names), self.channel.fileno()

    def _run(self) -> None:
        self._own.settimeout(30)
        with contextlib.suppress(OSError):
            listener = socket.recv_fds(self._own, 1, 1)[1][0]
            try:
                for identity, thread, number in self._requests(listener):
                    self.counts[self._names[number]] += 1
                    self._answer(listener, identity, thread, self.counts[self._names[number]] in self._range)
            finally:
                os.close(listener)

    def _requests(self, listener: int) -> Iterator[tuple[int, int, int]]:
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        while not self._is_over.is_set():
            for _, event in poll.poll(POLL_MS):
                if event & select.POLLHUP:
                    return
                buffer = bytearray(REQUEST.size)
                with contextlib.suppress(OSError):  # the caller is gone meanwhile
                    ioctl(listener, RECEIVE, buffer)
                    identity, thread, _, number = REQUEST.unpack(buffer)
                    yield identity, thread, number

    def _answer(self, listener: int, identity: int, thread: int, is_refused: bool) -> None:
        if is_refused and not self._error:
            with contextlib.suppress(ProcessLookupError):
                os.kill(thread, signal.SIGKILL)
        answer = ANSWER.pack(identity, 0, -self._error, 0) if is_refused else ANSWER.pack(identity, 0, 0, CONTINUE)
        with contextlib.suppress(OSError):
            ioctl(listener, SEND, answer)
