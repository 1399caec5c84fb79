"""The UNet's attention: self-attention over the image, and cross-attention from the image to the audio."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from musetalk_cli.engine.models.musetalk.nets.layers import to_feature_map, to_tokens

GROUP_NORM_EPS = 1e-6  # in front of a transformer; everywhere else in the UNet it is 1e-5


class KeyValue(NamedTuple):
    """The audio's keys and values for one cross-attention, both (B, tokens, C)."""

    key: Tensor
    value: Tensor


class TransformerPrefix(NamedTuple):
    """The state of a transformer in front of its cross-attention, which depends on the avatar frame alone.

    ``residual`` (B, C, H, W) is its input; ``tokens`` (B, H·W, C) come out of self-attention, ``query`` of the
    cross-attention's ``to_q``.
    """

    residual: Tensor
    tokens: Tensor
    query: Tensor


def attend(query: Tensor, key: Tensor, value: Tensor, num_heads: int) -> Tensor:
    """Scaled dot-product attention, Vaswani et al. 2017: (B, n, C), (B, m, C), (B, m, C) → (B, n, C)."""
    q, k, v = (part.reshape(*part.shape[:2], num_heads, -1).transpose(1, 2) for part in (query, key, value))
    return functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class Attention(nn.Module):
    """Projections around ``attend``. Without ``has_key_value`` the keys and values are projected elsewhere."""

    def __init__(self, dim: int, context_dim: int, num_heads: int, *, has_key_value: bool = True) -> None:
        super().__init__()
        self._num_heads = num_heads
        self.to_q = nn.Linear(dim, dim, bias=False)
        self.to_k = nn.Linear(context_dim, dim, bias=False) if has_key_value else None
        self.to_v = nn.Linear(context_dim, dim, bias=False) if has_key_value else None
        self.to_out = nn.ModuleList([nn.Linear(dim, dim)])

    def project_kv(self, context: Tensor) -> KeyValue:
        """``context`` (B, tokens, context_dim) → keys and values. Only where the layer has its own projections."""
        assert self.to_k is not None and self.to_v is not None  # noqa: S101 - the UNet asks only unfolded layers
        return KeyValue(self.to_k(context), self.to_v(context))

    def forward(self, query: Tensor, context: KeyValue) -> Tensor:
        attended: Tensor = self.to_out[0](attend(query, context.key, context.value, self._num_heads))
        return attended


class GEGLU(nn.Module):
    """First half × GELU(second half), exact GELU (Shazeer 2020)."""

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.proj = nn.Linear(in_dim, 2 * out_dim)

    def forward(self, x: Tensor) -> Tensor:
        hidden, gate = self.proj(x).chunk(2, dim=-1)
        gated: Tensor = hidden * functional.gelu(gate)
        return gated


class FeedForward(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.net = nn.ModuleList([GEGLU(dim, 4 * dim), nn.Identity(), nn.Linear(4 * dim, dim)])

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
    """One transformer layer between two 1 × 1 convolutions, with a residual connection around all of it.

    It is split in front of the cross-attention: ``encode_prefix`` depends on the image alone, ``cross_attend`` adds the
    audio.

    Args:
        dim: channels of the feature map.
        audio_dim: channels of an audio token.
        num_heads: of both attentions.
        num_groups: of the group normalisation.
        has_key_value: whether the cross-attention projects its own keys and values.
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
        assert isinstance(layer, TransformerLayer)  # noqa: S101 - ModuleList is not generic
        return layer

    def encode_prefix(self, x: Tensor) -> TransformerPrefix:
        """Everything in front of the cross-attention. ``x`` (B, C, H, W)."""
        layer = self.layer
        tokens = _linear(to_tokens(self.norm(x)), self.proj_in)
        normed = layer.norm1(tokens)
        tokens = tokens + layer.attn1(layer.attn1.to_q(normed), layer.attn1.project_kv(normed))
        return TransformerPrefix(x, tokens, layer.attn2.to_q(layer.norm2(tokens)))

    def cross_attend(self, prefix: TransformerPrefix, audio_kv: KeyValue) -> Tensor:
        """Cross-attention and the rest of the block: its output (B, C, H, W)."""
        layer = self.layer
        tokens = prefix.tokens + layer.attn2(prefix.query, audio_kv)
        tokens = tokens + layer.ff(layer.norm3(tokens))
        return prefix.residual + to_feature_map(_linear(tokens, self.proj_out), prefix.residual)

    def forward(self, x: Tensor, audio_kv: KeyValue) -> Tensor:
        return self.cross_attend(self.encode_prefix(x), audio_kv)


def _linear(tokens: Tensor, conv: nn.Conv2d) -> Tensor:
    """A 1 × 1 convolution on tokens (B, n, C): the same product without a detour through (B, C, H, W)."""
    return functional.linear(tokens, conv.weight.flatten(1), conv.bias)


def unpack_kv(packed: Tensor, dims: list[int]) -> list[KeyValue]:
    """(B, tokens, 2·Σ dims), for each layer its keys then its values → one KeyValue per layer."""
    parts = torch.split(packed, [dim for dim in dims for _ in range(2)], dim=2)
    return [KeyValue(*pair) for pair in zip(parts[::2], parts[1::2], strict=True)]
