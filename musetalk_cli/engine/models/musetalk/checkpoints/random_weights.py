"""Random weights, for measurements and tests without the official checkpoints: the mouth is noise."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

LABEL = "random weights"


class RandomStateDict(Mapping[str, Tensor]):
    """A seeded tensor for every key of ``net`` (which may be on the meta device), float32 on the CPU.

    A tensor is generated at each access and not stored. It depends on ``seed`` and its key only. Norm weights are
    about 1; other weights are scaled so that activations neither vanish nor explode; biases are not zero, so that tests
    of folding cover them.
    """

    def __init__(self, net: nn.Module, seed: int) -> None:
        self._shapes = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
        self._seed = seed

    def __getitem__(self, name: str) -> Tensor:
        return _generate(name, self._shapes[name], self._seed)

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)


def random_state_dict(net: nn.Module, seed: int) -> dict[str, Tensor]:
    """All tensors of a RandomStateDict at once."""
    return dict(RandomStateDict(net, seed))


def _generate(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed + zlib.crc32(name.encode()))
    tensor = torch.randn(shape, generator=generator)
    if len(shape) > 1:
        fan_in = tensor[0].numel()
        return tensor.mul_(fan_in**-0.5)
    is_norm_weight = name.endswith("weight")
    return tensor.mul_(0.1).add_(1.0) if is_norm_weight else tensor.mul_(0.05)
