"""The mouth net in numpy: log-mel features float32 (n, 80) → mouth shapes float32 (m, 6), one per 20 ms step.

A small stack of dilated convolutions over time, each computed as one matrix product. Weights come from an npz file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.types.arrays import read_arrays
from musetalk_cli.errors import ModelError, system_words

FloatArray = NDArray[np.float32]

FORMAT = 2
OUTPUTS = ("O", "J", "W", "P", "F", "T")
NUM_WITHOUT_TONGUE = 5
"""Outputs of the nets before T was added; they are read, too, and their tongue stays down."""
_DOWN = -30.0  # raw output of a tongue that stays down
_SIGNED = OUTPUTS.index("W")


class Convolution(NamedTuple):
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


class MouthNet(NamedTuple):
    """Step features float32 (n, features) → mouth shapes float32 (m, 6): O, J, P, F, T in 0..1, W in −1..1.

    One entry convolution, then residual blocks ``x + mix(relu(conv(x)))``, then a linear head. ``past_steps`` and
    ``future_steps`` are its receptive field: the steps before and after its own that an output depends on.
    """

    mean: FloatArray
    scale: FloatArray
    entry: Convolution
    blocks: tuple[tuple[Convolution, Convolution], ...]
    head: Convolution

    @property
    def past_steps(self) -> int:
        return -sum(min(conv.taps) for conv in self._temporal_layers())

    @property
    def future_steps(self) -> int:
        return sum(max(conv.taps) for conv in self._temporal_layers())

    def forward(self, features: FloatArray) -> FloatArray:
        """Outputs for steps ``past_steps`` … ``n − future_steps − 1`` of the n given, so m = n − past − future."""
        x = np.maximum(self.entry.apply((features - self.mean) * self.scale), 0.0)
        for conv, mix in self.blocks:
            y = mix.apply(np.maximum(conv.apply(x), 0.0))
            skip = -min(conv.taps)
            x = x[skip : skip + len(y)] + y
        raw = np.clip(self.head.apply(x), -30.0, 30.0)
        out = 1.0 / (1.0 + np.exp(-raw))
        out[:, _SIGNED] = np.tanh(raw[:, _SIGNED])
        return np.asarray(out, dtype=np.float32)

    def _temporal_layers(self) -> tuple[Convolution, ...]:
        return (self.entry, *(conv for conv, _ in self.blocks))


def load_net(file: str | Path | IO[bytes]) -> MouthNet:
    """Read weights written by tools/assets/audio_net (npz, no pickle).

    Raises ModelError when the file is damaged or of another format.
    """
    try:
        return net_from_arrays(read_arrays(file))
    except (OSError, KeyError, ValueError) as error:
        raise ModelError(
            f"the mouth net's weights cannot be read: {system_words(error)}", hint="install musetalk again"
        ) from error


def net_from_arrays(arrays: Mapping[str, NDArray[Any]]) -> MouthNet:
    """Build the net from ``format``, ``mean``, ``scale`` and its layers in the order in which they run.

    ``shapes`` (layers, 3): number of taps, inputs, outputs. ``taps`` and ``weights`` (a layer's weight, then its bias)
    hold all layers end to end, because reading an array takes a quarter of a millisecond, however small it is.

    Raises KeyError for a missing array, ValueError for an unknown format or sizes that do not fit.
    """
    if arrays["format"].tolist() != FORMAT:
        raise ValueError(f"format {arrays['format'].tolist()}, expected {FORMAT}")
    # Before they are checked: numpy asks each half by itself whether it is finite, ten times as long.
    arrays = {name: np.asarray(array, np.float32) if _is_real(array) else array for name, array in arrays.items()}
    _check_kinds(arrays)
    entry, *middle, head = _unpack(arrays["shapes"], arrays["taps"], arrays["weights"])
    head = _with_tongue(head)
    blocks = tuple(zip(middle[::2], middle[1::2], strict=True))
    return MouthNet(arrays["mean"], arrays["scale"], entry, blocks, head)


def _is_real(array: NDArray[Any]) -> bool:
    return array.dtype.kind == "f"


# Each array's kind of number and how many axes it has.
_KINDS = {
    "mean": ("f", 1),
    "scale": ("f", 1),
    "shapes": ("iu", 2),
    "taps": ("i", 1),
    "weights": ("f", 1),
}


def _check_kinds(arrays: Mapping[str, NDArray[Any]]) -> None:
    for name, (kinds, num_axes) in _KINDS.items():
        array = arrays[name]
        if array.dtype.kind not in kinds or array.ndim != num_axes:
            raise ValueError(f"{name} is an array of {array.dtype} {array.shape}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"{name} holds numbers that are not finite")
    num_in = len(arrays["mean"])
    if len(arrays["scale"]) != num_in or arrays["shapes"].shape[1:] != (3,) or len(arrays["shapes"]) < 2:
        raise ValueError("sizes that do not fit")
    for layer in arrays["shapes"].tolist():
        if min(layer) < 1 or layer[1] != num_in:
            raise ValueError(f"a layer of {layer} (taps, inputs, outputs) behind {num_in} outputs")
        num_in = layer[2]
    if num_in not in (NUM_WITHOUT_TONGUE, len(OUTPUTS)):
        raise ValueError(f"{num_in} outputs, expected {len(OUTPUTS)}")


def _with_tongue(head: Convolution) -> Convolution:
    """The head with all outputs: to one without T, a tongue that stays down is added."""
    missing = len(OUTPUTS) - len(head.bias)
    bias = np.pad(head.bias, (0, missing), constant_values=_DOWN)
    return Convolution(head.taps, np.pad(head.weight, ((0, 0), (0, missing))), bias)


def _unpack(shapes: NDArray[Any], taps: NDArray[Any], weights: FloatArray) -> Iterator[Convolution]:
    num_taps, num_weights = 0, 0
    for count, num_in, num_out in shapes.tolist():
        middle = num_weights + count * num_in * num_out
        weight = weights[num_weights:middle].reshape(count * num_in, num_out)
        own_taps = tuple(taps[num_taps : num_taps + count].tolist())
        num_taps, num_weights = num_taps + count, middle + num_out
        yield Convolution(own_taps, weight, weights[middle:num_weights].reshape(num_out))
    if (num_taps, num_weights) != (len(taps), len(weights)):
        raise ValueError(f"{len(taps)} taps and {len(weights)} weights, expected {num_taps} and {num_weights}")
