"""From rates to capacity: how many live streams a machine holds, and which stage bounds them."""

from __future__ import annotations

from collections.abc import Mapping

from musetalk_cli.benchmark.workload.figures import Capacity, StageFigures, count_streams

SHARED = "shared"
# A pipeline is bounded by its slowest stage if it delivers this share of what that stage makes alone, or if this share
# of its work is that stage's.
BOUND_SHARE = 0.85


def judge(stages: Mapping[str, StageFigures], model_fps: float, delivered_fps: float, fps: float) -> Capacity:
    """``model_fps``: the model with all its workers, which stands for the stage."""
    alone = {name: figures.fps for name, figures in stages.items()} | {"model": model_fps}
    slowest = min(alone, key=lambda name: alone[name])
    most, share = shares(stages, model_fps)[0]
    is_bound = delivered_fps >= BOUND_SHARE * alone[slowest] or (most == slowest and share >= BOUND_SHARE)
    return Capacity(delivered_fps / fps, count_streams(delivered_fps, fps), slowest if is_bound else SHARED)


def shares(stages: Mapping[str, StageFigures], model_fps: float) -> list[tuple[str, float]]:
    """How much of a frame's time each stage takes where all use the same cores, the largest first; they add up to 1."""
    seconds = {name: 1 / (model_fps if name == "model" else figures.fps) for name, figures in stages.items()}
    total = sum(seconds.values())
    return sorted(((name, part / total) for name, part in seconds.items()), key=lambda item: -item[1])
