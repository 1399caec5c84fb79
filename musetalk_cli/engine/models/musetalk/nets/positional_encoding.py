"""The sinusoid code that tells the UNet which of a frame's fifty audio tokens is which."""

from __future__ import annotations

import torch
from torch import Tensor

MAX_WAVELENGTH = 10_000.0


def position_code(num_tokens: int, dim: int) -> Tensor:
    """Vaswani et al. 2017, section 3.5, sines and cosines interleaved: float32 (num_tokens, dim)."""
    steps = torch.arange(num_tokens, dtype=torch.float64)[:, None]
    rates = MAX_WAVELENGTH ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    code = torch.zeros(num_tokens, dim, dtype=torch.float64)
    code[:, 0::2] = torch.sin(steps * rates)
    code[:, 1::2] = torch.cos(steps * rates)
    return code.float()
