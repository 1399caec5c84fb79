"""The mouth net in plain numpy: a small stack of dilated convolutions, each one matrix product."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.errors import ModelError

FloatArray = NDArray[np.float32]

FORMAT = 1
OUTPUTS = ("O", "J", "W", "P", "F")
_SIGNED = OUTPUTS.index("W")


@dataclass(frozen=True)
class Convolution:
    """``y[t] = bias + Σ_i x[t + taps[i]] · weight[i]``; weight float32 (taps · inputs, outputs), bias (outputs,)."""

    taps: tuple[int, ...]
    weight: FloatArray
    bias: FloatArray

    def apply(self, x: FloatArray) -> FloatArray:
        """(n, inputs) → (n − max(taps) + min(taps), outputs): only the steps whose every tap is inside."""
        num_out = len(x) - (max(self.taps) - min(self.taps))
        first = min(self.taps)
        columns = [x[tap - first : tap - first + num_out] for tap in self.taps]
        joined = columns[0] if len(columns) == 1 else np.concatenate(columns, axis=1)
        return np.asarray(joined @ self.weight + self.bias, dtype=np.float32)


@dataclass(frozen=True)
class MouthNet:
    """Step features float32 (n, features) → mouth float32 (m, 5): O, J, P, F in 0..1, W in −1..1.

    One entry convolution, then residual blocks ``x + mix(relu(conv(x)))``, then a linear head.
    ``past_steps`` and ``future_steps`` say how many steps each answer sees before and after its own.
    """

    mean: FloatArray
    scale: FloatArray
    entry: Convolution
    blocks: tuple[tuple[Convolution, Convolution], ...]
    head: Convolution

    @property
    def past_steps(self) -> int:
        return -sum(min(conv.taps) for conv in self._spread())

    @property
    def future_steps(self) -> int:
        return sum(max(conv.taps) for conv in self._spread())

    def forward(self, features: FloatArray) -> FloatArray:
        """Answer for steps ``past_steps`` … ``n − future_steps − 1`` of the n given, so m = n − past − future."""
        x = np.maximum(self.entry.apply((features - self.mean) * self.scale), 0.0)
        for conv, mix in self.blocks:
            y = mix.apply(np.maximum(conv.apply(x), 0.0))
            skip = -min(conv.taps)
            x = x[skip : skip + len(y)] + y
        raw = np.clip(self.head.apply(x), -30.0, 30.0)
        out = 1.0 / (1.0 + np.exp(-raw))
        out[:, _SIGNED] = np.tanh(raw[:, _SIGNED])
        return np.asarray(out, dtype=np.float32)

    def _spread(self) -> tuple[Convolution, ...]:
        return (self.entry, *(conv for conv, _ in self.blocks))


def load_net(file: str | Path | IO[bytes]) -> MouthNet:
    """Read weights written by tools/audio_net (npz, no pickle). Raises ModelError when they are not ours or damaged."""
    try:
        with np.load(file, allow_pickle=False) as archive:
            return net_from_arrays({name: archive[name] for name in archive.files})
    except (OSError, KeyError, ValueError, EOFError) as error:
        raise ModelError(f"the mouth net's weights cannot be read: {error}", hint="install musetalk again") from error


def net_from_arrays(arrays: Mapping[str, NDArray[Any]]) -> MouthNet:
    """Build the net from named arrays; raises KeyError for a missing one, ValueError for an unknown format."""
    if int(arrays["format"]) != FORMAT:
        raise ValueError(f"format {int(arrays['format'])}, expected {FORMAT}")
    num_blocks = int(arrays["num_blocks"])
    return MouthNet(
        mean=arrays["mean"].astype(np.float32),
        scale=arrays["scale"].astype(np.float32),
        entry=_convolution(arrays, "entry"),
        blocks=tuple(
            (_convolution(arrays, f"block{i}.conv"), _convolution(arrays, f"block{i}.mix")) for i in range(num_blocks)
        ),
        head=_convolution(arrays, "head"),
    )


def _convolution(arrays: Mapping[str, NDArray[Any]], name: str) -> Convolution:
    taps = tuple(int(tap) for tap in arrays[f"{name}.taps"])
    weight = arrays[f"{name}.weight"].astype(np.float32)
    bias = arrays[f"{name}.bias"].astype(np.float32)
    if weight.ndim != 2 or weight.shape[0] % len(taps) or bias.shape != (weight.shape[1],):
        raise ValueError(f"{name} has weights of shape {weight.shape} and a bias of shape {bias.shape}")
    return Convolution(taps, np.ascontiguousarray(weight), bias)
