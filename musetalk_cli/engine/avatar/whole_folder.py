"""A folder that appears whole or not at all: it is filled under another name beside its place, then takes it."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from glob import escape
from pathlib import Path

from musetalk_cli.engine.runtime.exchange import exchange
from musetalk_cli.engine.runtime.files import sync_file
from musetalk_cli.errors import AvatarError, system_words
from musetalk_cli.option_names import option
from musetalk_cli.system.locks import lock_folder, new_locked_folder

_PART, _OLD = ".part-", ".old-"


@contextmanager
def create_folder(
    target: Path, *, is_replacing: bool, completing: Callable[[], AbstractContextManager[None]] = nullcontext
) -> Iterator[Path]:
    """An empty folder beside ``target`` to be filled; after the block it is ``target``, after an exception it is gone.

    An existing ``target`` is only replaced with ``is_replacing``, once the new one is whole, in one step where the
    system can, inside ``completing()``. What a killed run left behind is removed; an older folder that it had moved
    away is put back. Raises AvatarError when nothing can be written there or ``target`` exists unexpectedly.
    """
    if target.is_symlink():
        target = target.resolve()  # the link stays
    parts: list[Path] = []  # known before they are there

    def make() -> Path:
        parts.append(_name_beside(target, _PART))
        _make_part(parts[-1], target)
        return parts[-1]

    try:
        with new_locked_folder(make) as part:
            yield part
            for path in part.iterdir():
                sync_file(path)
            with completing():
                _put_in_place(part, target, is_replacing)
    except OSError as error:
        raise AvatarError(f"cannot write the avatar {target}: {system_words(error)}") from error
    finally:
        for each in parts:
            shutil.rmtree(each, ignore_errors=True)


def remove_folder(target: Path) -> None:
    """Remove a folder: it is there as a whole or not at all, even when this process is killed meanwhile.

    Of a link the link is removed. What another process has open stays readable to it. Raises AvatarError.
    """
    try:
        if target.is_symlink():
            target.unlink()
            return
        with lock_folder(target, waits=True):
            part = _name_beside(target, _PART)
            target.rename(part)
            try:
                shutil.rmtree(part)
            except OSError as error:
                left = f"the avatar {target.name} is gone, but files of it are left in {part}: {system_words(error)}"
                raise AvatarError(left, hint="remove that folder") from error
    except OSError as error:
        raise AvatarError(f"cannot remove the avatar {target}: {system_words(error)}") from error


def rename_folder(target: Path, renamed: Path) -> None:
    """Give a folder another name, which nothing has. Raises AvatarError."""
    try:
        # Another case is the same name to some file systems, and may be wanted.
        is_other_case = renamed.name != target.name and renamed.exists() and renamed.samefile(target)
        if os.path.lexists(renamed) and not is_other_case:
            raise AvatarError(f"'{renamed.name}' exists already: {renamed}", hint="choose another name")
        target.rename(renamed)
    except OSError as error:
        raise AvatarError(f"cannot rename the avatar {target}: {system_words(error)}") from error


def _name_beside(target: Path, kind: str) -> Path:
    return target.with_name(f".{target.name}{kind}{secrets.token_hex(4)}")


def _make_part(part: Path, target: Path) -> None:
    """A new folder with the rights that any new folder gets, which tempfile's would not have."""
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        _clear_remains(target)
        part.mkdir()
    except OSError as error:
        hint = f"choose another folder with {option('--avatar-dir')} or MUSETALK_HOME"
        raise AvatarError(f"cannot write avatars to {part.parent}: {system_words(error)}", hint=hint) from error


def _put_in_place(part: Path, target: Path, is_replacing: bool) -> None:
    if is_replacing and target.exists():
        _replace(part, target)
        return
    try:
        part.rename(target)
    except OSError as error:
        if target.exists():
            hint = f"choose another name, or {option('--force')}"
            raise AvatarError(f"{target} exists already", hint=hint) from error
        raise


def _replace(part: Path, target: Path) -> None:
    """Afterwards ``part`` holds what ``target`` held, or is gone."""
    try:
        exchange(part, target)
    except OSError:  # not on this file system: for a moment neither has the name
        with lock_folder(target, waits=True):
            old = _name_beside(target, _OLD)
            if sys.platform != "win32":
                old.mkdir()
            target.rename(old)  # onto an empty folder, which rename replaces but on Windows
            try:
                part.rename(target)
            except OSError:
                old.rename(target)
                raise
            shutil.rmtree(old, ignore_errors=True)


def _clear_remains(target: Path) -> None:
    """Put an older ``target`` back that a killed run had moved away, and remove what else is left of such runs.

    A running one holds a lock on its folders.
    """
    for kind in (_OLD, _PART):
        for remains in target.parent.glob(f".{escape(target.name)}{kind}*"):
            with contextlib.suppress(FileNotFoundError, BlockingIOError), lock_folder(remains, waits=False):
                if kind == _OLD and not target.exists() and any(remains.iterdir()):
                    remains.rename(target)
                else:
                    shutil.rmtree(remains, ignore_errors=True)
