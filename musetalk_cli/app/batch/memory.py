"""Gives memory back between the files of a batch."""

from __future__ import annotations

import ctypes
import gc
from functools import lru_cache
from typing import Any


def give_back() -> None:
    """Free what ended pipelines leave, and return it to the system where the C library can.

    The parts of a pipeline refer to each other, so only the collector finds them. glibc keeps what is freed for the
    thread that had it, and each pipeline has threads of its own: a batch would keep the most of all its files.
    """
    gc.collect()
    if trim := _malloc_trim():
        trim(0)


@lru_cache(maxsize=1)
def _malloc_trim() -> Any:
    """The function of glibc; None on other systems."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
        trim.argtypes = [ctypes.c_size_t]
        return trim
    except (AttributeError, OSError, TypeError):  # no such function; no such library; Windows wants a name
        return None
