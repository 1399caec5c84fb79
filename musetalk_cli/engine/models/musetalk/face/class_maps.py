"""What a face-parsing net saw in every frame of an avatar: made once, then kept beside it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.avatar_files import read_record, unpack_arrays
from musetalk_cli.engine.models.musetalk.face.face_parts import write_kept
from musetalk_cli.engine.models.musetalk.face.masks import PARSED_PX
from musetalk_cli.engine.types.colour import ByteArray, as_bytes
from musetalk_cli.errors import AvatarError


class ClassMaps:
    """For each frame, the class of every pixel of the square around its face box: uint8 (512, 512).

    They lie packed as PNG one after the other in ``data`` uint8 (m,), the last ending at the last of ``offsets``
    int64 (n + 1,): some kilobytes each instead of 256.
    """

    def __init__(self, data: ByteArray, offsets: NDArray[np.int64]) -> None:
        self.data, self.offsets = data, offsets

    @classmethod
    def pack(cls, maps: Iterable[ByteArray]) -> ClassMaps:
        packed = [as_bytes(cv2.imencode(".png", classes)[1]).ravel() for classes in maps]
        offsets = np.cumsum([0, *(len(each) for each in packed)], dtype=np.int64)
        return cls(np.concatenate([np.zeros(0, np.uint8), *packed]), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> ByteArray:
        """Raises AvatarError when the packed map is damaged."""
        packed = self.data[self.offsets[index] : self.offsets[index + 1]]
        classes = cv2.imdecode(packed, cv2.IMREAD_UNCHANGED) if len(packed) else None
        if classes is None or classes.shape != (PARSED_PX, PARSED_PX) or classes.dtype != np.uint8:
            raise AvatarError(f"what face parsing saw in frame {index} of the avatar is damaged", hint=_AGAIN)
        return as_bytes(classes)


def load_class_maps(folder: Path, key: str) -> ClassMaps | None:
    """The maps that are kept with an avatar under ``key``, which says what made them of which boxes.

    None where there are none yet, or they belong to other frames. Raises AvatarError when the file is damaged.
    """
    path = _path(folder, key)
    try:
        arrays = unpack_arrays(path, path.read_bytes(), _AGAIN)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise AvatarError(f"cannot read {path}: {error.strerror}") from error
    wanted = (("data", np.uint8), ("offsets", np.int64))
    if not all(name in arrays and arrays[name].dtype == kind and arrays[name].ndim == 1 for name, kind in wanted):
        raise AvatarError(f"{path} is damaged: it holds other arrays", hint=_AGAIN)
    maps = ClassMaps(arrays["data"], arrays["offsets"])
    return maps if len(maps) == read_record(folder).num_frames else None


def store_class_maps(folder: Path, key: str, maps: ClassMaps) -> None:
    """Keep them; they appear whole or not at all. Raises AvatarError when they cannot be written."""
    write_kept(_path(folder, key), lambda file: np.savez(file, data=maps.data, offsets=maps.offsets))


def _path(folder: Path, key: str) -> Path:
    return folder / f"parsing-{key[:16]}.npz"


_AGAIN = "delete the avatar's parsing-….npz; it is made again"
