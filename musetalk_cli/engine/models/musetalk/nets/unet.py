"""The UNet that paints a mouth: avatar latents and audio in, latents of the speaking face out, in one step.

Stable Diffusion 1.4's UNet with eight channels in and 384-wide context, called once at timestep 0 (Zhang et al. 2024,
MuseTalk). Parameter names are those of diffusers' UNet2DConditionModel, which the official files hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from musetalk_cli.engine.models.musetalk.nets.attention import KeyValue, Looked, Transformer, split_audio
from musetalk_cli.engine.models.musetalk.nets.layers import Downsample, ResnetBlock, make_upsample

EPS = 1e-5


@dataclass(frozen=True)
class UNetConfig:
    """Sizes; the defaults are those of both official versions.

    ``has_audio`` says for each level, finest first, whether its blocks attend to audio. ``num_heads`` holds at every
    level (diffusers calls it attention_head_dim). ``is_folded``: without time layers, the keys and values of all layers
    made by one product (see folding.py). ``has_phases`` says for each upsampling, coarsest first, whether it is made as
    four phases (see layers.PhaseUpsample); only folded nets do.
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


class View(NamedTuple):
    """What the UNet has worked out of avatar frames before it hears: ``entry`` (B, C, h, w), conv_in's output, and what
    the first transformer has seen."""

    entry: Tensor
    looked: Looked


class TimeEmbedding(nn.Module):
    """The embedding of timestep 0: a sinusoid code of ones (cosines) and zeros (sines), through two linear layers."""

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(in_dim, out_dim)
        self.linear_2 = nn.Linear(out_dim, out_dim)

    def forward(self) -> Tensor:
        """(out_dim,), with the SiLU that every resnet applies to it."""
        code = self.linear_1.weight.new_zeros(self.linear_1.in_features)
        code[: len(code) // 2] = 1.0
        return functional.silu(self.linear_2(functional.silu(self.linear_1(code))))


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

    def forward(self, x: Tensor, time: Tensor | None, audio: Iterator[KeyValue], done: int = 0) -> list[Tensor]:
        """All outputs in order, the last one for the next block. ``done`` resnets and transformers lie behind x."""
        outputs = []
        for index in range(done, len(self.resnets)):
            x = self.resnets[index](x, time)
            x = self.attentions[index](x, next(audio)) if self.attentions else x
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

    def forward(self, x: Tensor, time: Tensor | None, audio: Iterator[KeyValue]) -> Tensor:
        x = self.attentions[0](self.resnets[0](x, time), next(audio))
        y: Tensor = self.resnets[1](x, time)
        return y


class UpBlock(nn.Module):
    """As a down block with one resnet more; each resnet takes one output of the way down beside its input."""

    def __init__(self, config: UNetConfig, level: int, in_dim: int) -> None:
        super().__init__()
        dim, finer = config.dims[level], config.dims[max(0, level - 1)]
        count = config.num_resnets + 1
        in_dims = [in_dim] + [dim] * (count - 1)
        skip_dims = [dim] * (count - 1) + [finer]
        self.resnets = nn.ModuleList(
            _resnet(config, straight + skip, dim) for straight, skip in zip(in_dims, skip_dims, strict=True)
        )
        self.attentions = nn.ModuleList(_transformer(config, dim) for _ in in_dims if config.has_audio[level])
        has_phases = config.is_folded and level > 0 and config.has_phases[len(config.dims) - 1 - level]
        self.upsamplers = nn.ModuleList([make_upsample(dim, has_phases=has_phases)] if level > 0 else [])

    def forward(self, x: Tensor, skips: list[Tensor], time: Tensor | None, audio: Iterator[KeyValue]) -> Tensor:
        for index, resnet in enumerate(self.resnets):
            x = resnet(torch.cat([x, skips.pop()], dim=1), time)
            x = self.attentions[index](x, next(audio)) if self.attentions else x
        for upsample in self.upsamplers:
            x = upsample(x)
        return x


class UNet(nn.Module):
    """``forward`` is ``predict(look(latents), listen(tokens))``; the two halves may be kept and shared.

    What ``look`` gives depends on the avatar frame alone, what ``listen`` gives on the audio alone.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        dims = config.dims
        self.conv_in = nn.Conv2d(config.in_channels, dims[0], 3, padding=1)
        self.time_embedding = None if config.is_folded else TimeEmbedding(dims[0], config.time_dim)
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
        """All transformers in the order in which they run."""
        blocks: list[Any] = [*self.down_blocks, self.mid_block, *self.up_blocks]
        return [layer for block in blocks for layer in block.attentions]

    def forward(self, latents: Tensor, tokens: Tensor) -> Tensor:
        """``latents`` (B, 8, h, w): masked, reference; ``tokens`` (B, 50, 384) with their positions → (B, 4, h, w).

        Unfolded, the result is the face's latent × 0.18215; folded, it is what the VAE's decoder takes.
        """
        return self.predict(self.look(latents), self.listen(tokens))

    def look(self, latents: Tensor) -> View:
        """Everything in front of the first audio."""
        entry = self.conv_in(latents.contiguous(memory_format=torch.channels_last))
        first = cast("DownBlock", self.down_blocks[0])
        return View(entry, self.transformers()[0].look(first.resnets[0](entry, self._time())))

    def listen(self, tokens: Tensor) -> list[KeyValue]:
        """Keys and values of every cross-attention, in the order in which they run."""
        if self.audio_projection is not None:
            return self.split(self.project(tokens))
        return [layer.layer.attn2.project(tokens) for layer in self.transformers()]

    def project(self, tokens: Tensor) -> Tensor:
        """A folded net's keys and values side by side, (…, audio_dim) → (…, 2·Σ dims): linear, so that the parts of a
        sum may be made apart."""
        assert self.audio_projection is not None  # noqa: S101 - only folded nets are asked
        projected: Tensor = self.audio_projection(tokens)
        return projected

    def split(self, projected: Tensor) -> list[KeyValue]:
        """What ``project`` gave, (B, tokens, 2·Σ dims), as ``listen`` gives it."""
        return split_audio(projected, self._audio_dims)

    def predict(self, view: View, audio_blocks: list[KeyValue]) -> Tensor:
        """The rest: (B, 4, h, w)."""
        time, audio = self._time(), iter(audio_blocks)
        x = self.transformers()[0].listen(view.looked, next(audio))
        skips = [view.entry, x]
        for index, block in enumerate(self.down_blocks):
            skips += block(skips[-1], time, audio, done=int(index == 0))
        x = self.mid_block(skips[-1], time, audio)
        for block in self.up_blocks:
            x = block(x, skips, time, audio)
        out: Tensor = self.conv_out(functional.silu(self.conv_norm_out(x)))
        return out

    def _time(self) -> Tensor | None:
        return None if self.time_embedding is None else self.time_embedding()


def _resnet(config: UNetConfig, in_dim: int, out_dim: int) -> ResnetBlock:
    time_dim = None if config.is_folded else config.time_dim
    return ResnetBlock(in_dim, out_dim, config.num_groups, EPS, time_dim)


def _transformer(config: UNetConfig, dim: int) -> Transformer:
    return Transformer(dim, config.audio_dim, config.num_heads, config.num_groups, has_key_value=not config.is_folded)
