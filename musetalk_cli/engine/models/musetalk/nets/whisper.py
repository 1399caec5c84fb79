"""Whisper's audio encoder (Radford et al. 2022). MuseTalk uses the hidden states of all its levels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from musetalk_cli.engine.models.musetalk.nets.attention import attend


@dataclass(frozen=True)
class WhisperConfig:
    """Sizes; the defaults are those of whisper-tiny.

    ``num_steps``: encoder steps of 20 ms, two mel frames each, in a window.
    """

    num_mels: int = 80
    num_steps: int = 1500
    dim: int = 384
    num_layers: int = 4
    num_heads: int = 6
    hidden_dim: int = 1536

    @property
    def num_levels(self) -> int:
        return self.num_layers + 1


class SelfAttention(nn.Module):
    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self._num_heads = num_heads
        self.k_proj = nn.Linear(dim, dim, bias=False)
        self.v_proj = nn.Linear(dim, dim)
        self.q_proj = nn.Linear(dim, dim)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        attended = attend(self.q_proj(x), self.k_proj(x), self.v_proj(x), self._num_heads)
        out: Tensor = self.out_proj(attended)
        return out


class Layer(nn.Module):
    def __init__(self, config: WhisperConfig) -> None:
        super().__init__()
        self.self_attn = SelfAttention(config.dim, config.num_heads)
        self.self_attn_layer_norm = nn.LayerNorm(config.dim)
        self.fc1 = nn.Linear(config.dim, config.hidden_dim)
        self.fc2 = nn.Linear(config.hidden_dim, config.dim)
        self.final_layer_norm = nn.LayerNorm(config.dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.self_attn_layer_norm(x))
        y: Tensor = x + self.fc2(functional.gelu(self.fc1(self.final_layer_norm(x))))
        return y


class WhisperEncoder(nn.Module):
    """Parameter names are those of transformers' WhisperModel, without the prefix ``model.encoder.``."""

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__()
        self.config = config
        self.conv1 = nn.Conv1d(config.num_mels, config.dim, 3, padding=1)
        self.conv2 = nn.Conv1d(config.dim, config.dim, 3, stride=2, padding=1)
        self.embed_positions = nn.Embedding(config.num_steps, config.dim)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_layers))
        self.layer_norm = nn.LayerNorm(config.dim)

    def forward(self, mel: Tensor, *, has_final_norm: bool = True) -> Tensor:
        """Log-mel spectrogram (B, 80, 2 · steps) → hidden states of all levels, (B, steps, levels, dim).

        Level 0 is the output of the convolutions with positions added, level n the output of layer n. The last one is
        normalised unless ``has_final_norm`` is false, as in the encoder that MuseTalk 1.0 was trained with.
        """
        x = functional.gelu(self.conv2(functional.gelu(self.conv1(mel)))).transpose(1, 2)
        x = x + self.embed_positions.weight[: x.shape[1]]
        levels = [x]
        for layer in self.layers:
            levels.append(layer(levels[-1]))
        if has_final_norm:
            levels[-1] = self.layer_norm(levels[-1])
        return torch.stack(levels, dim=2)
