"""Random weights, for measuring and testing without the official files: the real nets, but noise for a mouth."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

LABEL = "random weights"


class RandomState(Mapping[str, Tensor]):
    """A tensor for every name of ``net`` (which may be on the meta device), float32 on the CPU, drawn when asked for:
    whoever takes them holds the only copy.

    Each depends on ``seed`` and its own name only. Norms get gains about 1, everything else such a spread that signals
    neither die nor explode; biases are not zero, so that whatever folds them is really tested.
    """

    def __init__(self, net: nn.Module, seed: int) -> None:
        self._shapes = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
        self._seed = seed

    def __getitem__(self, name: str) -> Tensor:
        return _draw(name, self._shapes[name], self._seed)

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)


def random_state(net: nn.Module, seed: int) -> dict[str, Tensor]:
    """All of them at once."""
    return dict(RandomState(net, seed))


def _draw(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed + zlib.crc32(name.encode()))
    tensor = torch.randn(shape, generator=generator)
    if len(shape) > 1:
        fan_in = tensor[0].numel()
        return tensor.mul_(fan_in**-0.5)
    is_gain = name.endswith("weight")
    return tensor.mul_(0.1).add_(1.0) if is_gain else tensor.mul_(0.05)
