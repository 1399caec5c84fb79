"""The VAE between images and latents: Stable Diffusion's, as fine-tuned in sd-vae-ft-mse (Rombach et al. 2022).

Parameter names are those of diffusers' AutoencoderKL. The encoder is used once per avatar, the decoder for every frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from musetalk_cli.engine.models.musetalk.nets.attention import attend
from musetalk_cli.engine.models.musetalk.nets.layers import (
    Downsample,
    ResnetBlock,
    TwoPassGroupNorm,
    make_upsample,
    to_feature_map,
    to_tokens,
)

EPS = 1e-6
SCALE = 0.18215  # diffusers' scaling_factor: latents × this have a standard deviation of about 1


@dataclass(frozen=True)
class VaeConfig:
    """Sizes; the defaults are the official ones. ``is_folded`` concerns the decoder only: see folding.py.

    ``has_phases`` says for each of a folded decoder's upsamplings, coarsest first, whether it is computed as four
    phases (see layers.PhaseUpsample). ``scale`` is diffusers' scaling_factor.
    """

    dims: tuple[int, ...] = (128, 256, 512, 512)
    num_resnets: int = 2
    latent_channels: int = 4
    num_groups: int = 32
    scale: float = SCALE
    is_folded: bool = False
    has_phases: tuple[bool, ...] = (True, True, True)


class SpatialAttention(nn.Module):
    """Self-attention with one head over all pixels. Folded, the output projection is part of the value projection."""

    def __init__(self, dim: int, num_groups: int, norm: type[nn.GroupNorm], *, is_folded: bool) -> None:
        super().__init__()
        self.group_norm = norm(num_groups, dim, EPS)
        self.to_q = nn.Linear(dim, dim)
        self.to_k = nn.Linear(dim, dim)
        self.to_v = nn.Linear(dim, dim)
        self.to_out = nn.ModuleList([] if is_folded else [nn.Linear(dim, dim)])

    def forward(self, x: Tensor) -> Tensor:
        tokens = to_tokens(self.group_norm(x))
        attended = attend(self.to_q(tokens), self.to_k(tokens), self.to_v(tokens), num_heads=1)
        for project in self.to_out:
            attended = project(attended)
        return x + to_feature_map(attended, x)


class MidBlock(nn.Module):
    def __init__(self, config: VaeConfig, norm: type[nn.GroupNorm] = nn.GroupNorm, *, is_folded: bool) -> None:
        super().__init__()
        dim = config.dims[-1]
        self.resnets = nn.ModuleList(ResnetBlock(dim, dim, config.num_groups, EPS, norm=norm) for _ in range(2))
        self.attentions = nn.ModuleList([SpatialAttention(dim, config.num_groups, norm, is_folded=is_folded)])

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.resnets[1](self.attentions[0](self.resnets[0](x)))
        return y


class Level(nn.Module):
    """Some resnets, then a change of size.

    Args:
        config: of the autoencoder.
        in_dim: channels that come in.
        dim: channels that go out.
        count: how many resnets.
        norm: which class normalises in them.
    """

    def __init__(
        self, config: VaeConfig, in_dim: int, dim: int, count: int, norm: type[nn.GroupNorm] = nn.GroupNorm
    ) -> None:
        super().__init__()
        in_dims = [in_dim] + [dim] * (count - 1)
        self.resnets = nn.ModuleList(ResnetBlock(each, dim, config.num_groups, EPS, norm=norm) for each in in_dims)
        self.downsamplers = nn.ModuleList()
        self.upsamplers = nn.ModuleList()

    def forward(self, x: Tensor) -> Tensor:
        for layer in (*self.resnets, *self.downsamplers, *self.upsamplers):
            x = layer(x)
        return x


class EncoderNet(nn.Module):
    """It runs once per avatar frame, so its norms are exact ones; those of the decoder run for every face."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        dims = config.dims
        self.conv_in = nn.Conv2d(3, dims[0], 3, padding=1)
        self.down_blocks = nn.ModuleList()
        for index, (in_dim, dim) in enumerate(zip([dims[0], *dims], dims, strict=False)):
            level = Level(config, in_dim, dim, config.num_resnets, TwoPassGroupNorm)
            if index < len(dims) - 1:
                level.downsamplers.append(Downsample(dim, is_symmetric=False))
            self.down_blocks.append(level)
        self.mid_block = MidBlock(config, TwoPassGroupNorm, is_folded=False)
        self.conv_norm_out = TwoPassGroupNorm(config.num_groups, dims[-1], EPS)
        self.conv_out = nn.Conv2d(dims[-1], 2 * config.latent_channels, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv_in(images)
        for level in self.down_blocks:
            x = level(x)
        moments: Tensor = self.conv_out(functional.silu(self.conv_norm_out(self.mid_block(x))))
        return moments


class DecoderNet(nn.Module):
    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        dims = config.dims[::-1]
        self.conv_in = nn.Conv2d(config.latent_channels, dims[0], 3, padding=1)
        self.mid_block = MidBlock(config, is_folded=config.is_folded)
        self.up_blocks = nn.ModuleList()
        for index, (in_dim, dim) in enumerate(zip([dims[0], *dims], dims, strict=False)):
            level = Level(config, in_dim, dim, config.num_resnets + 1)
            if index < len(dims) - 1:
                level.upsamplers.append(make_upsample(dim, has_phases=config.is_folded and config.has_phases[index]))
            self.up_blocks.append(level)
        self.conv_norm_out = nn.GroupNorm(config.num_groups, dims[-1], EPS)
        self.conv_out = nn.Conv2d(dims[-1], 3, 3, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        x = self.mid_block(self.conv_in(latents))
        for level in self.up_blocks:
            x = level(x)
        images: Tensor = self.conv_out(functional.silu(self.conv_norm_out(x)))
        return images


class VaeEncoder(nn.Module):
    """Images (B, 3, H, W) RGB in ±1 → latents (B, 4, H/8, W/8) × ``config.scale``."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = EncoderNet(config)
        moments = 2 * config.latent_channels
        self.quant_conv = nn.Conv2d(moments, moments, 1)

    def forward(self, images: Tensor) -> Tensor:
        """The mode of the distribution, as in training; upstream draws an unseeded sample here."""
        moments = self.quant_conv(self.encoder(images.contiguous(memory_format=torch.channels_last)))
        mean: Tensor = moments.chunk(2, dim=1)[0]
        return mean * self.config.scale


class VaeDecoder(nn.Module):
    """Latents (B, 4, h, w) → images (B, 3, 8 h, 8 w), RGB, about ±1.

    Unfolded it takes latents × ``config.scale``; folded, the output of a folded UNet.
    """

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        self.config = config
        self.decoder = DecoderNet(config)
        latent = config.latent_channels
        self.post_quant_conv = None if config.is_folded else nn.Conv2d(latent, latent, 1)

    def forward(self, latents: Tensor) -> Tensor:
        if self.post_quant_conv is not None:
            latents = self.post_quant_conv(latents / self.config.scale)
        images: Tensor = self.decoder(latents.contiguous(memory_format=torch.channels_last))
        return images


def masked_and_reference(images: Tensor) -> Tensor:
    """The VAE encoder's input: (B, 3, H, W) RGB in 0 … 1 → (2 B, 3, H, W) in ±1, masked images first.

    The lower half of a masked image is black, that is −1: the mask is applied before the values are scaled to ±1.
    """
    masked = images.clone()
    masked[:, :, images.shape[2] // 2 :] = 0.0
    return torch.cat([masked, images]) * 2.0 - 1.0


def encode_avatar(encoder: VaeEncoder, images: Tensor) -> Tensor:
    """The UNet's image input: (B, 3, 256, 256) RGB in 0 … 1 → (B, 8, 32, 32), masked latents first."""
    masked, reference = encoder(masked_and_reference(images)).chunk(2)
    return torch.cat([masked, reference], dim=1)


def to_bgr(images: Tensor) -> Tensor:
    """(B, 3, H, W) RGB in ±1 → uint8 (B, H, W, 3) BGR on the same device, rounded and clipped."""
    levels = images.float().mul(127.5).add_(127.5).round_().clamp_(0, 255).to(torch.uint8)
    return levels.flip(1).permute(0, 2, 3, 1).contiguous()
