"""Compares faces of small nets: CUDA graphs against eager calls on the device, and both against fp32 on the CPU."""

from __future__ import annotations

import numpy as np
import torch

from fixtures.small_nets import CONFIGS
from musetalk_cli.engine.models.musetalk.audio.windows import STEPS_PER_FRAME
from musetalk_cli.engine.models.musetalk.checkpoints.loading import LATENT_PX, Precision, random_nets
from musetalk_cli.engine.models.musetalk.inference.face_generator import FaceGenerator
from tools.measure.gpu_check.machine import Machine

SEED = 2
FRAMES = (0, 1, 2, 1, 0)
HEAD = "| small nets | against | levels apart, mean | most | |\n|---|---|---|---|---|"


def check(machine: Machine) -> str:
    rng = torch.Generator().manual_seed(SEED)
    latents = torch.randn(3, CONFIGS.unet.in_channels, LATENT_PX, LATENT_PX, generator=rng)
    dim = STEPS_PER_FRAME * CONFIGS.whisper.num_levels * CONFIGS.unet.audio_dim
    features = torch.randn(len(FRAMES), dim, generator=rng).numpy()
    wanted = _generate(torch.device("cpu"), torch.float32, latents, features)[0]
    rows = []
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        eager, warm = _generate(machine.device, dtype, latents, features)
        name = str(dtype).removeprefix("torch.")
        rows.append(_row(f"{name}, eager", "float32 on the CPU", eager, wanted, 0.05 if "32" in name else 2.0))
        rows.append(_row(f"{name}, warmed up", f"{name}, eager", warm, eager, 0.05))
    return "\n".join([HEAD, *rows])


def _generate(
    device: torch.device, dtype: torch.dtype, latents: torch.Tensor, features: np.ndarray
) -> list[np.ndarray]:
    """Before and after ``warm_up``, which captures CUDA graphs on a CUDA device."""
    generator = FaceGenerator(random_nets("1.5", Precision(device, dtype), SEED, CONFIGS))
    prefix_cache = generator.build_prefix_cache(latents)
    before = generator.submit(prefix_cache, FRAMES, features).collect()
    generator.warm_up(prefix_cache, generator.sizes_up_to(len(FRAMES)))
    return [before, generator.submit(prefix_cache, FRAMES, features).collect()]


def _row(what: str, against: str, mine: np.ndarray, wanted: np.ndarray, limit: float) -> str:
    apart = np.abs(mine.astype(int) - wanted)
    outcome = "ok" if apart.mean() <= limit else f"**more than {limit:g}**"
    return f"| {what} | {against} | {apart.mean():.4f} | {apart.max()} | {outcome} |"
