"""TAESD: a small decoder in place of the VAE's, 18 times cheaper, coarser in fine detail (O. B. Bohan, 2023).

Parameter names are those of diffusers' AutoencoderTiny, as in the published checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

CLAMP = 3.0  # latents are softly clamped to ± this


@dataclass(frozen=True)
class TinyConfig:
    """Sizes; the defaults are the published ones. ``num_blocks`` for each level, coarsest first."""

    dim: int = 64
    num_blocks: tuple[int, ...] = (3, 3, 3, 1)
    latent_channels: int = 4


class Block(nn.Module):
    """Three convolutions with a residual connection around them."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        convs = [nn.Conv2d(dim, dim, 3, padding=1) for _ in range(3)]
        self.conv = nn.Sequential(convs[0], nn.ReLU(), convs[1], nn.ReLU(), convs[2])

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.conv(x) + x)


class Layers(nn.Module):
    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        dim = config.dim
        layers: list[nn.Module] = [nn.Conv2d(config.latent_channels, dim, 3, padding=1), nn.ReLU()]
        for level, count in enumerate(config.num_blocks):
            layers += [Block(dim) for _ in range(count)]
            is_last = level == len(config.num_blocks) - 1
            layers += [] if is_last else [nn.Upsample(scale_factor=2.0, mode="nearest")]
            layers += [nn.Conv2d(dim, 3 if is_last else dim, 3, padding=1, bias=is_last)]
        self.layers = nn.Sequential(*layers)

    def forward(self, latents: Tensor) -> Tensor:
        images: Tensor = self.layers(torch.tanh(latents / CLAMP) * CLAMP)
        return images


class TinyDecoder(nn.Module):
    """Latents (B, 4, h, w) × 0.18215 → images (B, 3, 8 h, 8 w), RGB, about ±1."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.config = config
        self.decoder = Layers(config)

    def forward(self, latents: Tensor) -> Tensor:
        images: Tensor = self.decoder(latents.contiguous(memory_format=torch.channels_last))
        return images * 2.0 - 1.0
