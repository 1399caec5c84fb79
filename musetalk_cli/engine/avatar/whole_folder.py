"""A folder that appears whole or not at all: it is filled under another name beside its place, then renamed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from musetalk_cli.engine.runtime.files import sync_file
from musetalk_cli.errors import AvatarError

_PART, _OLD = ".part-", ".old-"


@contextmanager
def create_folder(target: Path, *, is_replacing: bool) -> Iterator[Path]:
    """An empty folder beside ``target`` to be filled; after the block it is ``target``, after an exception it is gone.

    An existing ``target`` is only replaced with ``is_replacing``, once the new one is whole. What a killed run left
    behind is removed. Raises AvatarError when nothing can be written there or ``target`` exists unexpectedly.
    """
    parent = target.parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        _remove_remains(parent, target.name)
        part = Path(tempfile.mkdtemp(prefix=f".{target.name}{_PART}", dir=parent))
    except OSError as error:
        hint = "choose another folder with --avatar-dir or MUSETALK_HOME"
        raise AvatarError(f"cannot write avatars to {parent}: {error.strerror}", hint=hint) from error
    lock = os.open(part, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        part.chmod(0o755)  # a temporary folder is for its owner alone; what it becomes is a folder like any other
        yield part
        _put_in_place(part, target, is_replacing)
    except OSError as error:
        raise AvatarError(f"cannot write the avatar {target}: {error.strerror or error}") from error
    finally:
        os.close(lock)
        shutil.rmtree(part, ignore_errors=True)


def _put_in_place(part: Path, target: Path, is_replacing: bool) -> None:
    for path in part.iterdir():
        sync_file(path)
    if not is_replacing:
        try:
            part.rename(target)
        except OSError as error:
            if target.exists():
                raise AvatarError(f"{target} exists already", hint="choose another name, or --force") from error
            raise
        return
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}{_OLD}", dir=target.parent))
    try:
        with contextlib.suppress(FileNotFoundError):
            target.rename(old)  # onto an empty folder, which rename replaces
        try:
            part.rename(target)
        except OSError:
            old.rename(target)
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _remove_remains(parent: Path, name: str) -> None:
    """Remove what killed runs left beside ``name``; a running one holds a lock on its folder."""
    for kind in (_PART, _OLD):
        for remains in parent.glob(f".{name}{kind}*"):
            lock = os.open(remains, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(remains, ignore_errors=True)
            except BlockingIOError:
                pass
            finally:
                os.close(lock)
