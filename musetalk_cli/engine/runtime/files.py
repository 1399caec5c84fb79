"""Files that appear whole or not at all, and their SHA-256."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import Protocol

from musetalk_cli.hints import find_nearest, quote
from musetalk_cli.system.processes import is_alive

CHUNK_BYTES = 1 << 22
# File systems take names of 255 bytes. What stands around a shortened one has less than the rest.
MOST_NAME_BYTES = 220

_counter = itertools.count()


class Digest(Protocol):
    """What hashlib's functions return."""

    def update(self, data: bytes, /) -> None:
        """Add bytes."""


@contextmanager
def replace_file(path: Path, *, is_synced: bool = False) -> Iterator[Path]:
    """The name of a file to be written beside ``path``.

    After the block the file has the name ``path`` and replaces what was there; after an exception it is removed.
    ``is_synced``: it is on the disk before it gets that name. What killed processes left of the same file is removed.
    Raises OSError.
    """
    remove_abandoned(path)
    staged = staged_name(path)
    try:
        yield staged
        if is_synced:
            sync_file(staged)
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)


def staged_name(path: Path) -> Path:
    """A name beside ``path`` for what is not whole yet; ``remove_abandoned`` finds it."""
    # Process and counter: two processes, or two threads, may write the same file.
    return path.with_name(f".{fit_name(path.name)}.{os.getpid()}-{next(_counter)}")


def fit_name(name: str) -> str:
    """A file's name, or as much of it as leaves room for what is put before and behind it."""
    while len(os.fsencode(name)) > MOST_NAME_BYTES:
        name = name[:-1]
    return name


def remove_abandoned(path: Path) -> None:
    """Remove what a killed process left beside ``path``: it may be gigabytes, and nothing else would find it."""
    for staged in path.parent.glob(f".{escape(fit_name(path.name))}.[0-9]*"):
        owner = staged.suffix[1:].split("-")[0]
        if not (owner.isdecimal() and is_alive(int(owner))):
            staged.unlink(missing_ok=True)


def find_similar(missing: Path) -> str:
    """A hint with the file beside a ``missing`` one whose name is most like it; empty where there is none."""
    try:
        names = [path.name for path in missing.parent.iterdir() if not path.name.startswith(".")]
    except OSError:
        return "" if missing.parent.is_dir() else f"the folder {missing.parent} does not exist either"
    near = find_nearest(missing.name, names, cutoff=0.7)
    if not near:
        return ""
    plain, quoted = str(missing.with_name(near)), quote(missing.with_name(near))
    return f"did you mean {quoted if quoted != plain else repr(plain)}?"


def sync_file(path: Path) -> None:
    """Wait until a file's content is on the disk. Raises OSError."""
    with path.open("r+b" if sys.platform == "win32" else "rb") as file:
        os.fsync(file.fileno())


def hash_file(path: Path, on_progress: Callable[[int, int], None] | None = None) -> str:
    """A file's SHA-256, hexadecimal; ``on_progress`` gets bytes read and bytes in all. Raises OSError."""
    import hashlib  # it loads OpenSSL, which a render does not need

    digest, size, done = hashlib.sha256(), path.stat().st_size, 0
    for num_bytes in update_digest(digest, path):
        done += num_bytes
        if on_progress is not None:
            on_progress(done, size)
    return digest.hexdigest()


def update_digest(digest: Digest, path: Path) -> Iterator[int]:
    """Add a file's content to ``digest`` in chunks; yields the length of each. Raises OSError."""
    with path.open("rb") as file:
        while data := file.read(CHUNK_BYTES):
            digest.update(data)
            yield len(data)
