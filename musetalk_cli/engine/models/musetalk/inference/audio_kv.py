"""Audio features of frames → keys and values of all cross-attentions, each of Whisper's steps projected once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from musetalk_cli.engine.models.musetalk.inference.transfers import Upload
from musetalk_cli.engine.models.musetalk.nets.unet import UNet, positional_encoding
from musetalk_cli.engine.types.messages import FloatArray


class AudioKVProjector:
    """Projects each step once, as consecutive frames share eight of their ten steps at 25 frames per second.

    A token is one level of a step plus its positional encoding, and the projection is linear: W (level + position) is
    W level, computed once for a step, plus W position, computed once for all frames. One thread at a time.
    """

    def __init__(self, unet: UNet, num_levels: int) -> None:
        self._unet = unet
        self._num_levels = num_levels
        self._dim = unet.config.audio_dim
        self._position_kv: dict[int, Tensor] = {}

    def project(self, features: FloatArray, upload: Upload) -> Tensor:
        """float32 (n, steps · levels · dim) → (n, steps · levels, 2·Σ dims), as ``UNet.unpack_kv`` takes it."""
        steps, inverse = find_unique_rows(features.reshape(-1, self._num_levels * self._dim))
        weight = self._unet.conv_in.weight
        levels = upload(steps).to(weight.dtype).view(len(steps), self._num_levels, self._dim)
        packed = self._unet.project_packed_kv(levels).index_select(0, upload(inverse))
        audio_kv = packed.view(len(features), -1, packed.shape[-1])
        return audio_kv.add_(self._project_positions(audio_kv.shape[1]))

    def _project_positions(self, num_tokens: int) -> Tensor:
        if num_tokens not in self._position_kv:
            positions = positional_encoding(num_tokens, self._dim).to(self._unet.conv_in.weight)
            self._position_kv[num_tokens] = self._unet.project_packed_kv(positions)
        return self._position_kv[num_tokens]


def find_unique_rows(rows: FloatArray) -> tuple[FloatArray, NDArray[np.int64]]:
    """The unique ``rows`` in order of appearance, and for each row the index of its unique one."""
    found: dict[bytes, int] = {}
    inverse = [found.setdefault(row.tobytes(), len(found)) for row in rows]
    first = np.unique(inverse, return_index=True)[1]
    return rows[first], np.array(inverse, np.int64)
