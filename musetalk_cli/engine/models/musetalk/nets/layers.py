"""Layers that the UNet and the VAE share. Parameter names are those of the official checkpoints.

Feature maps are (B, C, H, W) and stay in channels_last throughout: with mixed layouts every convolution would reorder
its weights at each call.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class TwoPassGroupNorm(nn.GroupNorm):
    """Group normalisation that subtracts the mean before it squares, in fp32 on a CPU.

    PyTorch's kernel for channels_last sums values and squares in one pass there, which loses up to five digits where a
    group's deviation is small against its mean, or its upper half is not like the lower one, as in a masked face.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or x.dtype != torch.float32:
            return super().forward(x)
        tokens = to_tokens(x)
        centred = tokens - self._of_groups(tokens.mean(1))
        variance = self._of_groups(centred.square().mean(1))
        scale = torch.rsqrt(variance + self.eps) * self.weight
        return to_feature_map(torch.addcmul(self.bias, centred, scale), x)

    def _of_groups(self, values: Tensor) -> Tensor:
        """Values of all channels (B, C) → their groups' means, (B, 1, C)."""
        batch, dim = values.shape
        means = values.view(batch, self.num_groups, -1).mean(2, keepdim=True)
        return means.expand(batch, self.num_groups, dim // self.num_groups).reshape(batch, 1, dim)


class ResnetBlock(nn.Module):
    """x + conv2(SiLU(GN(conv1(SiLU(GN x)) + time))): He et al. 2016, in the pre-activation form of diffusion models.

    Args:
        in_dim: channels of the input.
        out_dim: channels of the output.
        num_groups: of both group normalisations.
        eps: likewise.
        time_dim: width of the timestep embedding; None where it is folded into conv1's bias or there is none.
        norm: the class of both group normalisations.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        num_groups: int,
        eps: float,
        time_dim: int | None = None,
        norm: type[nn.GroupNorm] = nn.GroupNorm,
    ) -> None:
        super().__init__()
        self.norm1 = norm(num_groups, in_dim, eps)
        self.conv1 = nn.Conv2d(in_dim, out_dim, 3, padding=1)
        self.time_emb_proj = nn.Linear(time_dim, out_dim) if time_dim else None
        self.norm2 = norm(num_groups, out_dim, eps)
        self.conv2 = nn.Conv2d(out_dim, out_dim, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(in_dim, out_dim, 1) if in_dim != out_dim else None

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        """``x`` (B, in, H, W), ``time`` (time_dim,) after its SiLU → (B, out, H, W)."""
        hidden = self.conv1(functional.silu(self.norm1(x), inplace=True))
        if self.time_emb_proj is not None:
            hidden += self.time_emb_proj(time)[:, None, None]
        out: Tensor = self.conv2(functional.silu(self.norm2(hidden), inplace=True))
        out += x if self.conv_shortcut is None else self.conv_shortcut(x)
        return out


class Downsample(nn.Module):
    """Halves height and width. The UNet pads all sides by one, the VAE only right and bottom."""

    def __init__(self, dim: int, *, is_symmetric: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 3, stride=2, padding=1 if is_symmetric else 0)
        self._is_symmetric = is_symmetric

    def forward(self, x: Tensor) -> Tensor:
        padded = x if self._is_symmetric else functional.pad(x, (0, 1, 0, 1))
        y: Tensor = self.conv(padded)
        return y


class Upsample(nn.Module):
    """Doubles height and width (nearest), then a 3 × 3 convolution."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(functional.interpolate(x, scale_factor=2.0, mode="nearest"))
        return y


class PhaseUpsample(nn.Module):
    """The same as Upsample with 4/9 of its multiplications: each output pixel depends on 2 × 2 different inputs only.

    One 2 × 2 convolution computes the four phases (even and odd rows and columns) as channels; they are interleaved
    afterwards. Its weights come from ``folding.split_phases``.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, 4 * dim, 2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        batch, dim, height, width = x.shape
        phases = self.conv(x)
        shape = (batch, dim, 2 * height, 2 * width)
        y = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
        for phase in range(4):
            row, column = divmod(phase, 2)
            part = phases[:, phase * dim : (phase + 1) * dim, row : row + height, column : column + width]
            y[:, :, row::2, column::2] = part
        return y


def make_upsample(dim: int, *, has_phases: bool) -> nn.Module:
    return PhaseUpsample(dim) if has_phases else Upsample(dim)


def to_tokens(x: Tensor) -> Tensor:
    """(B, C, H, W) → (B, H·W, C): no copy in channels_last."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def to_feature_map(tokens: Tensor, like: Tensor) -> Tensor:
    """(B, H·W, C) → (B, C, H, W) in channels_last, with the height and width of ``like``."""
    batch, dim, height, width = like.shape
    return tokens.reshape(batch, height, width, dim).permute(0, 3, 1, 2)
