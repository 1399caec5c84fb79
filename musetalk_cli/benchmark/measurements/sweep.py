"""One setting through its values, everything else as it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from musetalk_cli.app.model_choice import count_cores
from musetalk_cli.benchmark.measurements.block_latency import measure_latency
from musetalk_cli.benchmark.measurements.stages import measure_rates
from musetalk_cli.benchmark.workload.figures import FrameSize, Sweep, SweepRow
from musetalk_cli.benchmark.workload.plan import BenchPlan
from musetalk_cli.benchmark.workload.subject import Subject, open_subject
from musetalk_cli.configuration.schema import Config, Precision
from musetalk_cli.engine.types.messages import Tell
from musetalk_cli.errors import ConfigError, ModelError

SWEEPS = ("batch", "workers", "precision", "block", "size")
BATCHES = (1, 2, 4, 8, 16, 32)
BLOCKS_S = (0.2, 0.4, 1.0, 2.0, 4.0)
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "fp16")
HEIGHTS_PX = (256, 512, 720, 1080)


def check_sweep(name: str, model: str) -> None:
    """Raise ConfigError where there is nothing to sweep."""
    if name == "precision" and model == "warp":
        raise ConfigError("--sweep precision: the warp model has one precision", hint="choose a --model that has more")
    if name == "workers" and model != "warp":
        raise ConfigError(f"--sweep workers: {model} makes one batch at a time", hint="use --sweep batch")


def measure_sweep(subject: Subject, name: str, plan: BenchPlan, tell: Tell) -> Sweep:
    """A row for every value of ``name``, one of SWEEPS. Raises MuseTalkError."""
    rows: list[SweepRow] = []
    for value, swept in sweep_values(subject, name, tell):
        if value not in [row.value for row in rows]:
            tell(f"{name} {value}")
            rows.append(_measure(swept, value, plan))
    return Sweep(name, *subject.size, tuple(rows))


def _measure(subject: Subject, value: str, plan: BenchPlan) -> SweepRow:
    if not plan.is_brief:
        measure_rates(subject, replace(plan, num_rounds=1, seconds=min(plan.seconds, subject.settings.block_s)))
    rates = measure_rates(subject, plan)
    is_live = rates.delivered_fps.median > float(subject.settings.frame_rate)
    return SweepRow(value, rates, measure_latency(subject, plan.num_rounds) if is_live else None)


def sweep_values(subject: Subject, name: str, tell: Tell) -> Iterator[tuple[str, Subject]]:
    """What the value is after all limits, and the subject with it."""
    config = subject.config
    if name == "batch":
        for batch in BATCHES:
            swept = replace(subject, config=replace(config, video=replace(config.video, batch_size=batch)))
            yield str(swept.settings.batch_size), swept
    elif name == "workers":
        for count in _worker_counts():
            performance = replace(config.performance, parallel_workers=count)
            yield str(count), replace(subject, config=replace(config, performance=performance))
    elif name == "block":
        for block_s in BLOCKS_S:
            audio = replace(config.audio, target_duration=block_s)
            yield f"{block_s:g} s", replace(subject, config=replace(config, audio=audio))
    elif name == "size":
        for height_px in HEIGHTS_PX:
            size = FrameSize(height_px, height_px)
            yield f"{height_px} × {height_px}", subject.clone_for(size)
    else:
        yield from _precisions(subject, config, tell)


def _worker_counts() -> list[int]:
    cores = count_cores()
    return sorted({1 << power for power in range(cores.bit_length()) if 1 << power <= cores} | {cores})


def _precisions(subject: Subject, config: Config, tell: Tell) -> Iterator[tuple[str, Subject]]:
    for name in PRECISIONS:
        try:
            yield name, open_subject(replace(config, precision=name), subject.name, subject.size, tell)
        except ModelError as error:
            tell(f"{name} is left out: {error}")
