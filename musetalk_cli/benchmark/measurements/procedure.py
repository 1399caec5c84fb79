"""The whole measurement, in order."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass, replace
from typing import Any

from musetalk_cli.app.model_choice import choose_model, has_weights
from musetalk_cli.benchmark.comparison.figures import Comparison
from musetalk_cli.benchmark.comparison.procedure import compare
from musetalk_cli.benchmark.measurements.block_latency import measure_latency
from musetalk_cli.benchmark.measurements.capacity import judge
from musetalk_cli.benchmark.measurements.cold_start import measure_start
from musetalk_cli.benchmark.measurements.machine_info import MachineInfo, describe_machine
from musetalk_cli.benchmark.measurements.other_load import OtherLoad, describe_load, look_around
from musetalk_cli.benchmark.measurements.peak_flops import PeakFlops, measure_peak_flops
from musetalk_cli.benchmark.measurements.sessions import measure_sessions
from musetalk_cli.benchmark.measurements.stages import measure_rates, measure_stages, run_model_loop
from musetalk_cli.benchmark.measurements.sweep import BATCHES, check_sweep, measure_sweep
from musetalk_cli.benchmark.workload.figures import (
    SCHEMA,
    FrameSize,
    SessionFigures,
    SizeFigures,
    StartFigures,
    Sweep,
    Workload,
    as_record,
)
from musetalk_cli.benchmark.workload.plan import (
    LEAST_FRAMES,
    BenchPlan,
    BenchRequest,
    check_plan,
    choose_plan,
    is_quick,
    requested_sizes,
)
from musetalk_cli.benchmark.workload.speech import speech
from musetalk_cli.benchmark.workload.subject import PORTRAIT, Subject, open_subject
from musetalk_cli.configuration.schema import Config
from musetalk_cli.engine.runtime.usage import sum_gpu_mb
from musetalk_cli.engine.types.messages import Tell
from musetalk_cli.errors import ConfigError

TRIAL_S = 0.12  # of voice, to see how fast the model is
LONGEST_START_S = 60.0  # a fresh start that would take longer is left out, where all is slow


@dataclass(frozen=True)
class Result:
    """What was measured; parts that were not asked for are empty or None. ``load_s``: how long opening the model took,
    in this process; ``gpu_mb``: the most that torch held on each GPU, added up, None where it used none.
    ``others_share``: of the processors' time, what other programs took meanwhile, 0..1."""

    machine_info: MachineInfo
    workload: Workload
    load_s: float = 0.0
    sizes: tuple[SizeFigures, ...] = ()
    start: StartFigures | None = None
    sweep: Sweep | None = None
    sessions: SessionFigures | None = None
    comparison: Comparison | None = None
    gpu_mb: float | None = None
    others_share: float = 0.0

    def as_record(self) -> dict[str, Any]:
        """The JSON document."""
        record = as_record(replace(self, comparison=None))
        comparison = self.comparison.as_record() if self.comparison else None
        return {"schema": SCHEMA, **record, "comparison": comparison}


def run_benchmark(config: Config, request: BenchRequest, tell: Tell) -> Result:
    """Measure. ``tell`` takes lines about the progress. Raises MuseTalkError."""
    gc.enable()  # see __main__.py; a run has it too
    config = settle(config, tell)
    name = choose_model(config, tell)
    if request.sweep:
        check_sweep(request.sweep, name)
    sizes = requested_sizes(config.video.size)
    if is_busy := look_around():
        tell(is_busy)
    load = OtherLoad()
    tell(f"loading {name}")
    started_s = time.perf_counter()
    subject = _open(config, name, sizes[0], request, tell)
    load_s = time.perf_counter() - started_s
    face_s = _time_face(subject)
    plan = choose_plan(request, sizes, face_s, float(config.video.frame_rate))
    check_plan(request, plan)
    if plan.note:
        tell(plan.note)
    result = Result(describe_machine(subject), _describe_workload(subject, plan), load_s)
    if request.is_whole:
        figures = tuple(_measure_size(subject, size, plan, tell) for size in plan.sizes)
        result = replace(result, sizes=figures)
    if request.sweep:
        result = replace(result, sweep=measure_sweep(subject, request.sweep, plan, tell))
    if request.num_sessions:
        tell(f"{request.num_sessions} sessions at once")
        result = replace(result, sessions=measure_sessions(subject, request.num_sessions, plan))
    del subject  # what follows opens its own
    if request.is_whole and not (plan.is_least and load_s + LEAST_FRAMES * face_s > LONGEST_START_S):
        tell("starting the command afresh")
        fresh = replace(config, model=name, video=replace(config.video, size=sizes[0].height))
        result = replace(result, start=measure_start(fresh, speech(plan.seconds), plan.num_rounds))
    if request.has_comparison:
        measured = compare(config, name, seconds=plan.seconds, rounds=plan.num_rounds, tell=tell)
        result = replace(result, comparison=measured)
    result = replace(result, gpu_mb=sum_gpu_mb("max_memory_reserved"), others_share=round(load.share(), 3))
    if was_busy := describe_load(load.share(), "meanwhile, other programs took"):
        tell(was_busy)
    if name == "warp":
        return result
    # Last of all: its matrices would count in the memory.
    return replace(result, machine_info=replace(result.machine_info, peak_flops=_try_peak_flops(config, tell)))


def _open(config: Config, name: str, size: FrameSize, request: BenchRequest, tell: Tell) -> Subject:
    """Warmed up for the largest batch that will be asked for."""
    batch_size = max(BATCHES) if request.sweep == "batch" else config.video.batch_size
    warm = replace(config, video=replace(config.video, batch_size=batch_size))
    return replace(open_subject(warm, name, size, tell), config=config)


def _try_peak_flops(config: Config, tell: Tell) -> PeakFlops | None:
    try:
        return measure_peak_flops(config.device, config.precision)
    except RuntimeError as error:  # the measurements before it must not be lost for want of memory
        tell(f"the arithmetic is left out: {str(error).splitlines()[0]}")
        return None


def settle(config: Config, tell: Tell) -> Config:
    """The avatar that everybody measures with, and random weights where the real ones are missing.

    Raises ConfigError for what only files have.
    """
    if config.compat == "upstream":
        raise ConfigError("bench measures streams, which have no compat", hint="leave 'compat' out of the settings")
    config = replace(config, avatar=PORTRAIT)
    is_neural = config.model not in ("auto", "warp")
    if is_neural and not config.random_weights and not has_weights(config.model):
        tell(f"the weights of {config.model} are not here: measured with random weights, which are as fast")
        config = replace(config, random_weights=True)
    return config


def _time_face(subject: Subject) -> float:
    """Seconds for a face.

    The first call loads and chooses much, so it counts only if it was quick; or on a CPU, where opening the nets has
    generated a face already and each may take many seconds.
    """
    fps = float(subject.settings.frame_rate)
    first_s = 1 / run_model_loop(subject, speech(1 / fps))
    if is_quick(first_s, fps) or (subject.name != "warp" and _is_on_cpu(subject.config)):
        return first_s
    return 1 / run_model_loop(subject, speech(TRIAL_S))


def _is_on_cpu(config: Config) -> bool:
    from musetalk_cli.engine.models.musetalk.inference.devices import choose_precisions

    return choose_precisions(config.device, config.precision)[0].device.type == "cpu"


def _measure_size(subject: Subject, size: FrameSize, plan: BenchPlan, tell: Tell) -> SizeFigures:
    name = f"{size.width} × {size.height}"
    tell(f"{name}: each stage alone")
    subject = subject if size == subject.size else subject.clone_for(size)
    fps = float(subject.settings.frame_rate)
    if not plan.is_brief:
        run_model_loop(subject, speech(subject.settings.block_s))  # every shape of batch, unmeasured
    stages = measure_stages(subject, plan)
    tell(f"{name}: the whole pipeline")
    # Where a face takes seconds, a second worker gains nothing: the stage alone stands for the loop.
    rates = measure_rates(subject, plan, stages["model"].fps if plan.is_least else None)
    delivered_fps = rates.delivered_fps.median
    latency = None
    if delivered_fps > fps:
        tell(f"{name}: live blocks")
        latency = measure_latency(subject, plan.num_rounds)
    return SizeFigures(*size, stages, rates, latency, judge(stages, rates.model_fps.median, delivered_fps, fps))


def _describe_workload(subject: Subject, plan: BenchPlan) -> Workload:
    settings = subject.settings
    return Workload(
        seconds=plan.seconds,
        rounds=plan.num_rounds,
        fps=float(settings.frame_rate),
        block_s=settings.block_s,
        batch_size=settings.batch_size,
        num_workers=settings.num_workers,
        note=plan.note,
    )
