"""The figures in words: what this machine holds, and what bounds it."""

from __future__ import annotations

from collections.abc import Sequence

from musetalk_cli.benchmark.measurements.capacity import SHARED, shares
from musetalk_cli.benchmark.workload.figures import SessionFigures, SizeFigures

NAMES = {"model": "the model", "encode": "the video encoder"}


def describe_summary(sizes: Sequence[SizeFigures], fps: float, num_cores: int) -> str:
    """``This machine holds 4 streams of 25 fps at 512 × 512 and 1 at 1920 × 1080. The bottleneck is …``"""
    held = [each for each in sizes if each.capacity.num_streams]
    lost = [each for each in sizes if not each.capacity.num_streams]
    parts = []
    if held:
        counts = [f"{each.capacity.num_streams} at {name_size(each)}" for each in held]
        counts[0] = f"{count('stream', held[0].capacity.num_streams)} of {fps:g} fps at {name_size(held[0])}"
        parts.append(f"holds {join(counts)}")
    if lost:
        speeds = [f"{each.capacity.speed:.2g} × real time at {name_size(each)}" for each in lost]
        parts.append(f"does not hold {'one' if held else f'one stream of {fps:g} fps'}: {join(speeds)}")
    return f"This machine {', and '.join(parts)}. {_describe_bottlenecks(sizes, num_cores)}"


def describe_session_summary(sessions: SessionFigures, fps: float) -> str:
    """``This machine holds 2 streams of 25 fps at 512 × 512.``"""
    how = "holds" if sessions.slowest_fps.median >= fps else "does not hold"
    return f"This machine {how} {count('stream', sessions.count)} of {fps:g} fps at {name_size(sessions)}."


def name_bottleneck(figures: SizeFigures) -> str:
    """``model``, or ``cores (model 60 %)``: who takes most of what all share."""
    name = figures.capacity.bottleneck
    if name != SHARED:
        return name
    most, share = shares(figures.stages, figures.rates.model_fps.median)[0]
    return f"cores ({most} {100 * share:.0f} %)"


def name_size(figures: SizeFigures | SessionFigures) -> str:
    return f"{figures.width} × {figures.height}"


def count(thing: str, number: int) -> str:
    """``1 stream``, ``2 streams``."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def join(parts: Sequence[str]) -> str:
    """``a, b and c``"""
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def _describe_bottlenecks(sizes: Sequence[SizeFigures], num_cores: int) -> str:
    by_name: dict[str, list[SizeFigures]] = {}
    for each in sizes:
        by_name.setdefault(each.capacity.bottleneck, []).append(each)
    cores = f"the CPU, whose {count('core', num_cores)} all stages share" if num_cores > 1 else "the CPU's one core"
    words = {name: cores if name == SHARED else NAMES.get(name, f"the stage {name}") for name in by_name}
    if len(by_name) == 1:
        return f"The bottleneck is {words.popitem()[1]}."
    where = [f"at {join([name_size(each) for each in by_name[name]])} it is {text}" for name, text in words.items()]
    return f"The bottleneck: {'; '.join(where)}."
