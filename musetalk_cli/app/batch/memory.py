"""Gives memory back between the files of a batch."""

from __future__ import annotations

import gc

from musetalk_cli.system import heap

# What is kept for the next file: one of 768² leaves 70 MB, and the more files at once, the more.
MAX_FREE_BYTES = 160 << 20


def give_back() -> None:
    """Free what ended pipelines leave, for the next one; return it to the system where that is much.

    The parts of a pipeline refer to each other, so only the collector finds them.
    """
    gc.collect()
    num_bytes = heap.free_bytes()
    if num_bytes is None or num_bytes > MAX_FREE_BYTES:
        heap.trim()
