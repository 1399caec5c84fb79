"""The neural model's nets at a size that tests can afford: same structure, few channels."""

from __future__ import annotations

import torch

from musetalk_cli.engine.models.musetalk.loading import NetConfigs, Precision
from musetalk_cli.engine.models.musetalk.unet import UNetConfig
from musetalk_cli.engine.models.musetalk.vae import VaeConfig
from musetalk_cli.engine.models.musetalk.whisper import WhisperConfig

CONFIGS = NetConfigs(
    unet=UNetConfig(dims=(32, 48, 64, 64), num_groups=8, num_heads=4, audio_dim=48),
    vae=VaeConfig(dims=(16, 32, 48, 48), num_groups=8),
    whisper=WhisperConfig(dim=48, num_layers=4, num_heads=4, hidden_dim=96),
)
CPU = Precision(torch.device("cpu"), torch.float32)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def relative_error(mine: torch.Tensor, wanted: torch.Tensor) -> float:
    """Largest difference ÷ largest value."""
    return float((mine - wanted).abs().max() / wanted.abs().max())
