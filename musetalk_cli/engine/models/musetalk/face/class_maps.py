"""What a face-parsing net predicts for every frame of an avatar: the class of each pixel around the face."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.models.musetalk.face.avatar_cache import PARSING, ArrayLayout, AvatarCache
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
            raise AvatarError(f"the parsed classes of frame {index} of the avatar are damaged", hint=_AGAIN)
        return as_bytes(classes)


def load_class_maps(cache: AvatarCache, key: str, num_frames: int) -> ClassMaps | None:
    """The cached maps of ``num_frames`` frames; None when there are none, or they are damaged."""
    layout = {"data": ArrayLayout(np.uint8, (None,)), "offsets": ArrayLayout(np.int64, (num_frames + 1,))}
    arrays = cache.load(PARSING, key, layout)
    return None if arrays is None else ClassMaps(arrays["data"], arrays["offsets"])


def store_class_maps(cache: AvatarCache, key: str, maps: ClassMaps) -> None:
    """Cache maps under ``key``."""
    cache.store(PARSING, key, {"data": maps.data, "offsets": maps.offsets})


_AGAIN = "delete the avatar's parsing-….npz: it is made again"
