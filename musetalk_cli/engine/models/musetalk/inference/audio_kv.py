"""What frames hear → keys and values of all cross-attentions, each of Whisper's steps worked out once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from musetalk_cli.engine.models.musetalk.inference.transfers import Upload
from musetalk_cli.engine.models.musetalk.nets.positional_encoding import position_code
from musetalk_cli.engine.models.musetalk.nets.unet import UNet
from musetalk_cli.engine.types.messages import FloatArray


class Sounds:
    """Frames that follow each other share eight of their ten steps at 25 frames per second.

    A token is a step's level plus the code of its place, and the projection is linear: W (level + place) is W level,
    made once for a step, plus W place, made once for all. One thread at a time.
    """

    def __init__(self, unet: UNet, num_levels: int) -> None:
        self._unet = unet
        self._num_levels = num_levels
        self._dim = unet.config.audio_dim
        self._places: dict[int, Tensor] = {}

    def hear(self, features: FloatArray, upload: Upload) -> Tensor:
        """float32 (n, steps · levels · dim) → (n, steps · levels, width), as ``UNet.split`` takes it."""
        steps, which = find_different(features.reshape(-1, self._num_levels * self._dim))
        weight = self._unet.conv_in.weight
        levels = upload(steps).to(weight.dtype).view(len(steps), self._num_levels, self._dim)
        projected = self._unet.project(levels).index_select(0, upload(which))
        audio = projected.view(len(features), -1, projected.shape[-1])
        return audio.add_(self._place(audio.shape[1]))

    def _place(self, num_tokens: int) -> Tensor:
        if num_tokens not in self._places:
            code = position_code(num_tokens, self._dim).to(self._unet.conv_in.weight)
            self._places[num_tokens] = self._unet.project(code)
        return self._places[num_tokens]


def find_different(rows: FloatArray) -> tuple[FloatArray, NDArray[np.int64]]:
    """The different ones of ``rows`` in the order in which they come, and for each row which of them it is."""
    found: dict[bytes, int] = {}
    which = [found.setdefault(row.tobytes(), len(found)) for row in rows]
    first = np.unique(which, return_index=True)[1]
    return rows[first], np.array(which, np.int64)
