"""What MuseTalk derives from an avatar, cached in the avatar's folder.

A cached file is named after its kind and a key, the hash of everything that decides its content. It appears whole or
not at all, is checked when it is read, and is made again when it is missing, damaged or of another format. It is not
part of the avatar: nothing in ``avatar.json`` depends on it, and it may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.avatar_files import unpack_arrays
from musetalk_cli.engine.runtime.files import replace_file
from musetalk_cli.engine.types.messages import Tell
from musetalk_cli.errors import AvatarError, system_words

# Kinds of cached files, as their names begin.
FACE_PARTS, PARSING, LATENTS = "face-parts", "parsing", "latents"
# Part of every key: raised when the same key would stand for other content.
FORMAT = 1
KEY_DIGITS = 16  # of the key in a file's name

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class ArrayLayout:
    """What an array must be: its dtype and its shape, None for any length."""

    dtype: type[np.generic]
    shape: tuple[int | None, ...]

    def fits(self, array: NDArray[Any]) -> bool:
        """Whether an array has this dtype and shape."""
        return (
            array.dtype == self.dtype
            and array.ndim == len(self.shape)
            and all(wanted in (None, found) for wanted, found in zip(self.shape, array.shape, strict=True))
        )


@dataclass(frozen=True)
class AvatarCache:
    """The cached files in an avatar's ``folder``; without a folder nothing is cached.

    ``tell`` is told, in whole lines, when a file is damaged or cannot be written: neither is an error.
    """

    folder: Path | None
    tell: Tell = lambda text: None

    def load(self, kind: str, key: str, layout: Mapping[str, ArrayLayout]) -> Arrays | None:
        """The arrays of a cached file; None when there is none, or it does not hold exactly those of ``layout``."""
        if self.folder is None:
            return None
        path = _path(self.folder, kind, key)
        try:
            arrays = unpack_arrays(path, path.read_bytes(), "")
        except FileNotFoundError:
            return None
        except OSError as error:
            self.tell(f"{path} cannot be read and is made again: {system_words(error)}")
            return None
        except AvatarError as error:
            self.tell(f"{error}; it is made again")
            return None
        if arrays.keys() != layout.keys() or not all(layout[name].fits(array) for name, array in arrays.items()):
            self.tell(f"{path} holds other arrays and is made again")
            return None
        return arrays

    def store(self, kind: str, key: str, arrays: Mapping[str, Any]) -> None:
        """Cache arrays under a kind and a key."""
        if self.folder is None:
            return
        try:
            with replace_file(_path(self.folder, kind, key)) as staged, staged.open("wb") as file:
                np.savez(file, **arrays)
        except OSError as error:
            self.tell(f"{kind} of avatar '{self.folder.name}' is not cached: {system_words(error)}")


def make_key(settings: Mapping[str, Any], *content: str | NDArray[Any]) -> str:
    """The hash, 64 hexadecimal digits, of all that decides a cached file: ``settings`` as JSON has them, hashes of
    files, and arrays, whose byte order does not matter."""
    digest = hashlib.sha256(json.dumps({**settings, "format": FORMAT}, sort_keys=True).encode())
    for part in content:
        if isinstance(part, str):
            digest.update(part.encode())
        else:
            digest.update(f"{part.dtype.name} {part.shape}".encode())
            digest.update(part.astype(part.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def has_cached(folder: Path, kind: str) -> bool:
    """Whether an avatar's folder has any cached file of a kind."""
    return any(folder.glob(f"{kind}-*.npz"))


def _path(folder: Path, kind: str, key: str) -> Path:
    return folder / f"{kind}-{key[:KEY_DIGITS]}.npz"
