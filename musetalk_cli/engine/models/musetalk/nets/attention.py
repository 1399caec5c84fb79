"""Attention of the UNet: over the image itself, and from the image to the audio."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from musetalk_cli.engine.models.musetalk.nets.layers import to_image, to_tokens

GROUP_NORM_EPS = 1e-6  # in front of a transformer; everywhere else in the UNet it is 1e-5


class KeyValue(NamedTuple):
    """Audio as one cross-attention sees it, both (B, tokens, C)."""

    key: Tensor
    value: Tensor


class Looked(NamedTuple):
    """What a transformer has worked out before it hears: its input (B, C, H, W), tokens and query (B, H·W, C)."""

    image: Tensor
    tokens: Tensor
    query: Tensor


def attend(query: Tensor, key: Tensor, value: Tensor, num_heads: int) -> Tensor:
    """Scaled dot-product attention, Vaswani et al. 2017: (B, n, C), (B, m, C), (B, m, C) → (B, n, C)."""
    q, k, v = (part.reshape(*part.shape[:2], num_heads, -1).transpose(1, 2) for part in (query, key, value))
    return functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class Attention(nn.Module):
    """Projections around ``attend``. Without ``has_key_value`` the keys and values are made elsewhere."""

    def __init__(self, dim: int, context_dim: int, num_heads: int, *, has_key_value: bool = True) -> None:
        super().__init__()
        self._num_heads = num_heads
        self.to_q = nn.Linear(dim, dim, bias=False)
        self.to_k = nn.Linear(context_dim, dim, bias=False) if has_key_value else None
        self.to_v = nn.Linear(context_dim, dim, bias=False) if has_key_value else None
        self.to_out = nn.ModuleList([nn.Linear(dim, dim)])

    def project(self, context: Tensor) -> KeyValue:
        """``context`` (B, tokens, context_dim). Only where the layer has its own projections."""
        assert self.to_k is not None and self.to_v is not None  # noqa: S101 - the UNet asks only unfolded layers
        return KeyValue(self.to_k(context), self.to_v(context))

    def forward(self, query: Tensor, context: KeyValue) -> Tensor:
        attended: Tensor = self.to_out[0](attend(query, context.key, context.value, self._num_heads))
        return attended


class GatedLinear(nn.Module):
    """First half × GELU(second half), exact GELU: Shazeer 2020."""

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.proj = nn.Linear(in_dim, 2 * out_dim)

    def forward(self, x: Tensor) -> Tensor:
        straight, gate = self.proj(x).chunk(2, dim=-1)
        gated: Tensor = straight * functional.gelu(gate)
        return gated


class FeedForward(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.net = nn.ModuleList([GatedLinear(dim, 4 * dim), nn.Identity(), nn.Linear(4 * dim, dim)])

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.net:
            x = layer(x)
        return x


class TransformerLayer(nn.Module):
    """Self-attention, cross-attention and feed-forward, each with a LayerNorm in front and a residual around."""

    def __init__(self, dim: int, audio_dim: int, num_heads: int, *, has_key_value: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn1 = Attention(dim, dim, num_heads)
        self.norm2 = nn.LayerNorm(dim)
        self.attn2 = Attention(dim, audio_dim, num_heads, has_key_value=has_key_value)
        self.norm3 = nn.LayerNorm(dim)
        self.ff = FeedForward(dim)


class Transformer(nn.Module):
    """One transformer layer between two 1 × 1 convolutions, with a residual around all.

    Cut in two where the audio comes in: ``look`` depends on the image alone, ``listen`` does the rest.
    """

    def __init__(self, dim: int, audio_dim: int, num_heads: int, num_groups: int, *, has_key_value: bool) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(num_groups, dim, GROUP_NORM_EPS)
        self.proj_in = nn.Conv2d(dim, dim, 1)
        layer = TransformerLayer(dim, audio_dim, num_heads, has_key_value=has_key_value)
        self.transformer_blocks = nn.ModuleList([layer])
        self.proj_out = nn.Conv2d(dim, dim, 1)

    @property
    def layer(self) -> TransformerLayer:
        layer = self.transformer_blocks[0]
        assert isinstance(layer, TransformerLayer)  # noqa: S101 - ModuleList forgets what it holds
        return layer

    def look(self, x: Tensor) -> Looked:
        """``x`` (B, C, H, W)."""
        layer = self.layer
        tokens = _linear(to_tokens(self.norm(x)), self.proj_in)
        normed = layer.norm1(tokens)
        tokens = tokens + layer.attn1(layer.attn1.to_q(normed), layer.attn1.project(normed))
        return Looked(x, tokens, layer.attn2.to_q(layer.norm2(tokens)))

    def listen(self, looked: Looked, audio: KeyValue) -> Tensor:
        """The block's output (B, C, H, W)."""
        layer = self.layer
        tokens = looked.tokens + layer.attn2(looked.query, audio)
        tokens = tokens + layer.ff(layer.norm3(tokens))
        return looked.image + to_image(_linear(tokens, self.proj_out), looked.image)

    def forward(self, x: Tensor, audio: KeyValue) -> Tensor:
        return self.listen(self.look(x), audio)


def _linear(tokens: Tensor, conv: nn.Conv2d) -> Tensor:
    """A 1 × 1 convolution on tokens (B, n, C): the same product without going back to an image."""
    return functional.linear(tokens, conv.weight.flatten(1), conv.bias)


def split_audio(projected: Tensor, dims: list[int]) -> list[KeyValue]:
    """(B, tokens, 2·Σ dims), for each layer its keys then its values → one KeyValue per layer."""
    parts = torch.split(projected, [dim for dim in dims for _ in range(2)], dim=2)
    return [KeyValue(*pair) for pair in zip(parts[::2], parts[1::2], strict=True)]
