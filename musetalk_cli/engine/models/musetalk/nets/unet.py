"""MuseTalk's UNet: avatar latents and audio features in, latents of the speaking face out, in one step.

It is Stable Diffusion 1.4's UNet with eight input channels and a cross-attention dimension of 384, called once at
timestep 0 (Zhang et al. 2024, MuseTalk). Parameter names are those of diffusers' UNet2DConditionModel, as in the
official checkpoints.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from musetalk_cli.engine.models.musetalk.nets.attention import KeyValue, Transformer, TransformerPrefix, unpack_kv
from musetalk_cli.engine.models.musetalk.nets.layers import Downsample, ResnetBlock, make_upsample

EPS = 1e-5
MAX_WAVELENGTH = 10_000.0  # of the positional encoding, in tokens ÷ 2π


@dataclass(frozen=True)
class UNetConfig:
    """Sizes; the defaults are those of both official versions.

    ``has_audio`` says for each level, finest first, whether its blocks have cross-attention. ``num_heads`` holds at
    every level (diffusers calls it attention_head_dim). ``is_folded``: without timestep layers, and with one projection
    for the keys and values of all cross-attentions (see folding.py). ``has_phases`` says for each upsampling, coarsest
    first, whether it is computed as four phases (see layers.PhaseUpsample); only in folded nets.
    """

    in_channels: int = 8
    out_channels: int = 4
    dims: tuple[int, ...] = (320, 640, 1280, 1280)
    has_audio: tuple[bool, ...] = (True, True, True, False)
    num_resnets: int = 2
    num_heads: int = 8
    audio_dim: int = 384
    num_groups: int = 32
    is_folded: bool = False
    has_phases: tuple[bool, ...] = (False, False, False)

    @property
    def time_dim(self) -> int:
        return 4 * self.dims[0]


class UNetPrefix(NamedTuple):
    """The output of the UNet's layers in front of its first cross-attention, which depends on the avatar frame alone.

    ``skip`` (B, C, h, w) is conv_in's output, the first skip connection; ``transformer`` is the state of the first
    transformer.
    """

    skip: Tensor
    transformer: TransformerPrefix


class TimestepEmbedding(nn.Module):
    """The embedding of timestep 0: sinusoids of ones (cosines) and zeros (sines), then two linear layers."""

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(in_dim, out_dim)
        self.linear_2 = nn.Linear(out_dim, out_dim)

    def forward(self) -> Tensor:
        """(out_dim,), with the SiLU that every resnet applies to it."""
        sinusoids = self.linear_1.weight.new_zeros(self.linear_1.in_features)
        sinusoids[: len(sinusoids) // 2] = 1.0
        return functional.silu(self.linear_2(functional.silu(self.linear_1(sinusoids))))


class DownBlock(nn.Module):
    """Resnets, each with a transformer where the level has audio, then half the size unless it is the last level."""

    def __init__(self, config: UNetConfig, level: int) -> None:
        super().__init__()
        dim, before = config.dims[level], config.dims[max(0, level - 1)]
        in_dims = [before] + [dim] * (config.num_resnets - 1)
        self.resnets = nn.ModuleList(_resnet(config, in_dim, dim) for in_dim in in_dims)
        self.attentions = nn.ModuleList(_transformer(config, dim) for _ in in_dims if config.has_audio[level])
        is_last = level == len(config.dims) - 1
        self.downsamplers = nn.ModuleList([] if is_last else [Downsample(dim, is_symmetric=True)])

    def forward(self, x: Tensor, time: Tensor | None, audio_kv: Iterator[KeyValue], num_done: int = 0) -> list[Tensor]:
        """All outputs in order; the last one is the next block's input.

        ``x`` is the output of the first ``num_done`` resnets and transformers, which are skipped.
        """
        outputs = []
        for index in range(num_done, len(self.resnets)):
            x = self.resnets[index](x, time)
            x = self.attentions[index](x, next(audio_kv)) if self.attentions else x
            outputs.append(x)
        for downsample in self.downsamplers:
            outputs.append(downsample(outputs[-1] if outputs else x))
        return outputs


class MidBlock(nn.Module):
    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        dim = config.dims[-1]
        self.resnets = nn.ModuleList(_resnet(config, dim, dim) for _ in range(2))
        self.attentions = nn.ModuleList([_transformer(config, dim)])

    def forward(self, x: Tensor, time: Tensor | None, audio_kv: Iterator[KeyValue]) -> Tensor:
        x = self.attentions[0](self.resnets[0](x, time), next(audio_kv))
        y: Tensor = self.resnets[1](x, time)
        return y


class UpBlock(nn.Module):
    """As a down block with one resnet more; each resnet takes one skip connection beside its input."""

    def __init__(self, config: UNetConfig, level: int, in_dim: int) -> None:
        super().__init__()
        dim, finer = config.dims[level], config.dims[max(0, level - 1)]
        count = config.num_resnets + 1
        in_dims = [in_dim] + [dim] * (count - 1)
        skip_dims = [dim] * (count - 1) + [finer]
        self.resnets = nn.ModuleList(
            _resnet(config, hidden + skip, dim) for hidden, skip in zip(in_dims, skip_dims, strict=True)
        )
        self.attentions = nn.ModuleList(_transformer(config, dim) for _ in in_dims if config.has_audio[level])
        has_phases = config.is_folded and level > 0 and config.has_phases[len(config.dims) - 1 - level]
        self.upsamplers = nn.ModuleList([make_upsample(dim, has_phases=has_phases)] if level > 0 else [])

    def forward(self, x: Tensor, skips: list[Tensor], time: Tensor | None, audio_kv: Iterator[KeyValue]) -> Tensor:
        for index, resnet in enumerate(self.resnets):
            x = resnet(torch.cat([x, skips.pop()], dim=1), time)
            x = self.attentions[index](x, next(audio_kv)) if self.attentions else x
        for upsample in self.upsamplers:
            x = upsample(x)
        return x


class UNet(nn.Module):
    """``forward`` is ``predict(encode_prefix(latents), project_kv(tokens))``.

    ``encode_prefix`` depends on the avatar frame alone and ``project_kv`` on the audio alone, so both results can be
    cached and shared between frames.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        dims = config.dims
        self.conv_in = nn.Conv2d(config.in_channels, dims[0], 3, padding=1)
        self.time_embedding = None if config.is_folded else TimestepEmbedding(dims[0], config.time_dim)
        self.down_blocks = nn.ModuleList(DownBlock(config, level) for level in range(len(dims)))
        self.mid_block = MidBlock(config)
        levels = range(len(dims) - 1, -1, -1)
        inputs = [dims[-1], *reversed(dims)]
        self.up_blocks = nn.ModuleList(
            UpBlock(config, level, in_dim) for level, in_dim in zip(levels, inputs, strict=False)
        )
        self.conv_norm_out = nn.GroupNorm(config.num_groups, dims[0], EPS)
        self.conv_out = nn.Conv2d(dims[0], config.out_channels, 3, padding=1)
        self._audio_dims = [layer.proj_in.out_channels for layer in self.transformers()]
        width = 2 * sum(self._audio_dims)
        self.audio_projection = nn.Linear(config.audio_dim, width, bias=False) if config.is_folded else None

    def transformers(self) -> list[Transformer]:
        """All transformers in execution order."""
        blocks: list[Any] = [*self.down_blocks, self.mid_block, *self.up_blocks]
        return [layer for block in blocks for layer in block.attentions]

    def forward(self, latents: Tensor, tokens: Tensor) -> Tensor:
        """``latents`` (B, 8, h, w): masked, reference; ``tokens`` (B, 50, 384) with positions added → (B, 4, h, w).

        Unfolded, the result is the face's latents × 0.18215; folded, it is the input of the folded VAE decoder.
        """
        return self.predict(self.encode_prefix(latents), self.project_kv(tokens))

    def encode_prefix(self, latents: Tensor) -> UNetPrefix:
        """Everything in front of the first cross-attention. ``latents`` (B, 8, h, w)."""
        skip = self.conv_in(latents.contiguous(memory_format=torch.channels_last))
        first = cast("DownBlock", self.down_blocks[0])
        return UNetPrefix(skip, self.transformers()[0].encode_prefix(first.resnets[0](skip, self._time())))

    def project_kv(self, tokens: Tensor) -> list[KeyValue]:
        """Keys and values of every cross-attention, in execution order. ``tokens`` (B, tokens, audio_dim)."""
        if self.audio_projection is not None:
            return self.unpack_kv(self.project_packed_kv(tokens))
        return [layer.layer.attn2.project_kv(tokens) for layer in self.transformers()]

    def project_packed_kv(self, tokens: Tensor) -> Tensor:
        """A folded net's keys and values side by side, (…, audio_dim) → (…, 2·Σ dims).

        The projection is linear, so the parts of a sum can be projected separately.
        """
        assert self.audio_projection is not None  # noqa: S101 - only folded nets are asked
        packed: Tensor = self.audio_projection(tokens)
        return packed

    def unpack_kv(self, packed: Tensor) -> list[KeyValue]:
        """The result of ``project_packed_kv``, (B, tokens, 2·Σ dims), as ``project_kv`` returns it."""
        return unpack_kv(packed, self._audio_dims)

    def predict(self, prefix: UNetPrefix, audio_kv: list[KeyValue]) -> Tensor:
        """The layers from the first cross-attention on: (B, 4, h, w)."""
        time, kv = self._time(), iter(audio_kv)
        x = self.transformers()[0].cross_attend(prefix.transformer, next(kv))
        skips = [prefix.skip, x]
        for index, block in enumerate(self.down_blocks):
            skips += block(skips[-1], time, kv, num_done=int(index == 0))
        x = self.mid_block(skips[-1], time, kv)
        for block in self.up_blocks:
            x = block(x, skips, time, kv)
        out: Tensor = self.conv_out(functional.silu(self.conv_norm_out(x)))
        return out

    def _time(self) -> Tensor | None:
        return None if self.time_embedding is None else self.time_embedding()


def positional_encoding(num_tokens: int, dim: int) -> Tensor:
    """Vaswani et al. 2017, section 3.5, sines and cosines interleaved: float32 (num_tokens, dim).

    Added to a frame's audio tokens: it tells the UNet their order.
    """
    steps = torch.arange(num_tokens, dtype=torch.float64)[:, None]
    rates = MAX_WAVELENGTH ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    encoding = torch.zeros(num_tokens, dim, dtype=torch.float64)
    encoding[:, 0::2] = torch.sin(steps * rates)
    encoding[:, 1::2] = torch.cos(steps * rates)
    return encoding.float()


def _resnet(config: UNetConfig, in_dim: int, out_dim: int) -> ResnetBlock:
    time_dim = None if config.is_folded else config.time_dim
    return ResnetBlock(in_dim, out_dim, config.num_groups, EPS, time_dim)


def _transformer(config: UNetConfig, dim: int) -> Transformer:
    return Transformer(dim, config.audio_dim, config.num_heads, config.num_groups, has_key_value=not config.is_folded)
