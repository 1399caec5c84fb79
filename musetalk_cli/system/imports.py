"""Loads what takes longest to load."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from importlib import import_module
from types import ModuleType


def load_apart(name: str) -> None:
    """Import a module on a thread of its own, and wait for it. Raises what the import raises.

    CPython keeps the frames of nested calls in blocks of 16 KB, and each time a call passes a block's end it has the
    system map the next one, and give it back on return. Behind the thirty frames of a command, that end is within
    numpy's nested imports, where it is passed 1400 times: 10 to 20 of 300 ms of CPU. A new thread begins a new block.

    An interruption ends the wait, not the import: the thread does not keep the process from ending.
    """
    loaded: Future[ModuleType] = Future()

    def load() -> None:
        try:
            loaded.set_result(import_module(name))
        except BaseException as error:
            loaded.set_exception(error)

    threading.Thread(target=load, name="musetalk-import", daemon=True).start()
    loaded.result()
