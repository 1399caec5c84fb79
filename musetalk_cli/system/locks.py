"""Locks between processes, which end with the process that holds them."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

# Windows locks no folder, and renames none in which something is open: only its age tells that nobody works on it.
ABANDONED_S = 24 * 3600.0
_LOCKED_BYTE = 1 << 40  # behind the end of every file: on Windows, nobody else may read what is locked


@contextlib.contextmanager
def lock_file(opened: IO[Any]) -> Iterator[None]:
    """Hold an open file alone. Raises BlockingIOError when another process does."""
    if sys.platform == "win32":
        with _windows_lock(opened):
            yield
        return
    import fcntl

    fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    yield  # it ends when the file is closed


@contextlib.contextmanager
def lock_folder(folder: Path, *, waits: bool) -> Iterator[None]:
    """Hold a folder alone, whatever name it has meanwhile.

    Raises BlockingIOError when another process holds it and ``waits`` is false; OSError when it cannot be opened.
    """
    if sys.platform == "win32":
        if not waits and time.time() - folder.stat().st_mtime < ABANDONED_S:
            raise BlockingIOError(f"{folder} is in use")
        yield
        return
    import fcntl

    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
        yield
    finally:
        os.close(lock)


@contextlib.contextmanager
def new_locked_folder(make: Callable[[], Path]) -> Iterator[Path]:
    """A folder that ``make`` makes, held alone.

    Before it is held, another process may take it for remains, and remove it: then another is made. Raises OSError.
    """
    with contextlib.ExitStack() as held:
        while True:
            folder = make()
            with contextlib.suppress(FileNotFoundError):
                held.enter_context(lock_folder(folder, waits=True))
                if folder.exists():
                    break
            held.close()
        yield folder


@contextlib.contextmanager
def _windows_lock(opened: IO[Any]) -> Iterator[None]:
    import msvcrt

    def lock(mode: int) -> None:
        position = os.lseek(opened.fileno(), 0, os.SEEK_CUR)
        os.lseek(opened.fileno(), _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(opened.fileno(), mode, 1)  # type: ignore[attr-defined,unused-ignore]
        finally:
            os.lseek(opened.fileno(), position, os.SEEK_SET)

    try:
        lock(msvcrt.LK_NBLCK)  # type: ignore[attr-defined,unused-ignore]
    except OSError as error:
        raise BlockingIOError(f"{opened.name} is in use") from error
    try:
        yield
    finally:
        lock(msvcrt.LK_UNLCK)  # type: ignore[attr-defined,unused-ignore]
