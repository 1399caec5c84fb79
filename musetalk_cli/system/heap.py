"""Where threads take memory from, how much of it is free, and when Python looks for garbage in it."""

from __future__ import annotations

import ctypes
import gc
import os
from functools import lru_cache
from typing import Any

# glibc's, and the highest that it would come to by itself.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_MAPPED_BYTES = 32 << 20
_CHILD_KEPT_BYTES = 512 << 20  # more than it ever frees at once
_PR_SET_THP_DISABLE = 41  # Linux: <linux/prctl.h>


def share() -> None:
    """Let all threads take memory from one place, and keep what they free, where the C library can.

    glibc would give each thread an arena of its own, up to eight for each core, and what was freed in one is of no use
    in another: memory grows with every new thread. And it would return what the last frames took to the system, and
    take it again for the next. To be called before there is a second thread.
    """
    if mallopt := _from_libc("mallopt", ctypes.c_int, ctypes.c_int):
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES)
        mallopt(_M_TRIM_THRESHOLD, 2 * _MAPPED_BYTES)


def keeping_environment() -> dict[str, str]:
    """Environment of a child that keeps what it frees, in as many arenas as it likes; what the user has set stays."""
    kept = {"MALLOC_MMAP_THRESHOLD_": str(_MAPPED_BYTES), "MALLOC_TRIM_THRESHOLD_": str(_CHILD_KEPT_BYTES)}
    return {**kept, **os.environ}


def free_bytes() -> int | None:
    """How many bytes were freed and wait to be used again; None where nobody knows: before glibc 2.33, or elsewhere."""
    info = _from_libc("mallinfo2", result=_HeapInfo)
    return int(info().fordblks) if info else None


def trim() -> None:
    """Return what is free to the system, where the C library can."""
    if malloc_trim := _from_libc("malloc_trim", ctypes.c_size_t):
        malloc_trim(0)


def use_small_pages() -> None:
    """Take memory in pages of 4 kB, where the C library can tell the system.

    x264 and numpy ask for pages of 2 MB where they take much; these are taken whole however little of them is written,
    and where a freed one was, the next small thing takes it whole again.
    """
    if prctl := _from_libc("prctl", ctypes.c_int, *[ctypes.c_ulong] * 4):
        prctl(_PR_SET_THP_DISABLE, 1, 0, 0, 0)


def begin_collecting() -> None:
    """End the start-up, during which nothing is collected (__main__.py). What it made stays until the process ends: the
    collector need not look through it again and again."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


class _HeapInfo(ctypes.Structure):
    """glibc's ``struct mallinfo2``; ``fordblks`` is what is free."""

    _names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = tuple((name, ctypes.c_size_t) for name in _names.split())


@lru_cache
def _from_libc(name: str, *arguments: type, result: type = ctypes.c_int) -> Any:
    """A function of glibc; None on other systems."""
    try:
        function: Any = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):  # no such function; no such library; Windows wants a name
        return None
    function.argtypes, function.restype = arguments, result
    return function
