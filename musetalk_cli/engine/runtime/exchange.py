"""Two names swapped in one step, where the system can: there is no moment in which either is missing."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2  # linux/fs.h
_RENAME_SWAP = 2  # macOS, sys/stdio.h


def exchange(one: Path, other: Path) -> None:
    """Let two existing files or folders of one file system change names, atomically.

    Linux: renameat2(2) with RENAME_EXCHANGE; macOS: renamex_np(2) with RENAME_SWAP. Raises OSError where the system or
    its file system cannot, and nothing has changed then.
    """
    if sys.platform == "win32":
        raise OSError("this system has no call that exchanges two names")
    names = os.fsencode(one), os.fsencode(other)
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        if sys.platform == "darwin":
            failed = libc.renamex_np(*names, _RENAME_SWAP)
        else:
            failed = libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE)
    except AttributeError:
        raise OSError("this system has no call that exchanges two names") from None
    if failed:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(one))
