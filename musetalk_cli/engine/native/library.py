"""Finds and loads the native kernel: one shared library beside this module, once per process.

``native_build.py`` of the repository compiles it. Its functions are called through ctypes, which releases the
interpreter's lock meanwhile.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ctypes

ABI = 17
"""NATIVE_ABI of abi.c."""
SWITCH = "MUSETALK_NATIVE"
"""Environment variable: ``0`` has numpy do the work."""
SUFFIXES = {"darwin": ".dylib", "win32": ".dll"}
PATH = Path(__file__).with_name("_native" + SUFFIXES.get(sys.platform, ".so"))
AVX2_PATH = PATH.with_name(f"_native.avx2{PATH.suffix}")
"""The same for processors with AVX2, a fifth faster. gcc puts both into one library, zig does not."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """The native kernel, or why there is none."""

    library: ctypes.CDLL | None
    reason: str
    """Why numpy does the work; empty where the library does."""

    def describe(self) -> str:
        """What does the work, and why."""
        return f"numpy, without the native kernel: {self.reason}" if self.reason else "native kernel"


_lock = threading.Lock()
_found: Found | None = None


def load() -> ctypes.CDLL | None:
    """The shared library; None where numpy has to do its work. The first call decides for the process."""
    return find().library


def find() -> Found:
    """The shared library, or why there is none."""
    global _found
    with _lock:
        if _found is None:
            faster = open_library(AVX2_PATH)
            _found = faster if faster.library else open_library(PATH)
            log.info("computing with: %s", _found.describe())
        return _found


def open_library(path: Path) -> Found:
    """Load a library, and see whether it is one that this package can call. Raises nothing."""
    if os.environ.get(SWITCH) == "0":
        return Found(None, f"{SWITCH}=0")
    if not path.is_file():
        return Found(None, "it was not built")
    import ctypes  # 6 ms that nobody else needs

    try:
        library = ctypes.CDLL(str(path))
        abi = library.native_abi()
    except (OSError, AttributeError) as error:
        return Found(None, f"it does not load: {error}")
    if abi == 0:
        return Found(None, "this processor lacks instructions that it was built for")
    if abi != ABI:
        return Found(None, f"it was built for another version: {abi} instead of {ABI}")
    return Found(library, "")
