"""Loads what takes longest to load."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from importlib import import_module


def load_apart(name: str) -> None:
    """Import a module on a thread of its own, and wait for it. Raises what the import raises.

    CPython keeps the frames of nested calls in blocks of 16 KB, and each time a call passes a block's end it has the
    system map the next one, and give it back on return. Behind the thirty frames of a command, that end is within
    numpy's nested imports, where it is passed 1400 times: 10 to 20 of 300 ms of CPU. A new thread begins a new block.
    """
    with ThreadPoolExecutor(1, "musetalk-import") as thread:
        thread.submit(import_module, name).result()
