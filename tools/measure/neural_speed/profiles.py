"""Profiles one frame with torch.profiler."""

from __future__ import annotations

from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from musetalk_cli.engine.models.musetalk.checkpoints.loading import NetConfigs, Precision, random_nets
from musetalk_cli.engine.models.musetalk.inference.face_generator import FaceGenerator
from tools.measure.neural_speed.ratios import SEED, inputs

NUM_ROWS = 10
HEAD = "| operation | calls | CPU, ms | share |\n|---|---|---|---|"


def profile_frame(configs: NetConfigs, dtype: torch.dtype) -> str:
    """The operations with the most CPU time of their own in one frame, eager, as a table."""
    generator = FaceGenerator(random_nets("1.5", Precision(torch.device("cpu"), dtype), SEED, configs))
    latents, features = inputs(configs)
    prefix_cache = generator.build_prefix_cache(latents)
    generator.submit(prefix_cache, [0], features).collect()
    with profile(activities=[ProfilerActivity.CPU], acc_events=True) as profiler:
        generator.submit(prefix_cache, [0], features).collect()
    rows: list[Any] = sorted(profiler.key_averages(), key=lambda row: -row.self_cpu_time_total)
    total = sum(row.self_cpu_time_total for row in rows)
    lines = [
        f"| `{row.key}` | {row.count} | {row.self_cpu_time_total / 1e3:.0f} | {row.self_cpu_time_total / total:.1%} |"
        for row in rows[:NUM_ROWS]
    ]
    return "\n".join([HEAD, *lines])
