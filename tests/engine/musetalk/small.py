"""The neural model's nets at a size that tests can afford: same structure, few channels, windows of 6 s."""

from __future__ import annotations

import torch

from musetalk_cli.engine.models.musetalk.loading import NetConfigs, Precision
from musetalk_cli.engine.models.musetalk.unet import UNetConfig
from musetalk_cli.engine.models.musetalk.vae import VaeConfig
from musetalk_cli.engine.models.musetalk.whisper import WhisperConfig

CONFIGS = NetConfigs(
    unet=UNetConfig(dims=(16, 24, 32, 32), num_groups=8, num_heads=4, audio_dim=32),
    vae=VaeConfig(dims=(8, 16, 16, 16), num_groups=8),
    whisper=WhisperConfig(num_steps=300, dim=32, num_layers=4, num_heads=4, hidden_dim=64),
)
CPU = Precision(torch.device("cpu"), torch.float32)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def relative_error(mine: torch.Tensor, wanted: torch.Tensor) -> float:
    """Largest difference ÷ largest value."""
    return float((mine - wanted).abs().max() / wanted.abs().max())
