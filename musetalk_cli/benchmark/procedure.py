"""The whole measurement, in order."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

from musetalk_cli.benchmark.block_latency import measure_latency
from musetalk_cli.benchmark.capacity import judge
from musetalk_cli.benchmark.card import Card, describe_machine
from musetalk_cli.benchmark.cold_start import measure_start
from musetalk_cli.benchmark.comparison import compare
from musetalk_cli.benchmark.comparison_figures import Comparison
from musetalk_cli.benchmark.effort import Effort, Wish, choose_effort, is_quick, wished_sizes
from musetalk_cli.benchmark.figures import (
    SCHEMA,
    FrameSize,
    SessionFigures,
    SizeFigures,
    StartFigures,
    Sweep,
    Workload,
    as_record,
)
from musetalk_cli.benchmark.measuring import measure_rates, measure_stages, run_model_loop
from musetalk_cli.benchmark.sessions import measure_sessions
from musetalk_cli.benchmark.subject import PORTRAIT, Subject, open_subject
from musetalk_cli.benchmark.sweep import check_sweep, measure_sweep
from musetalk_cli.benchmark.workload import speech
from musetalk_cli.config import Config, Model
from musetalk_cli.errors import ConfigError
from musetalk_cli.model_choice import choose_model, has_weights
from musetalk_cli.usage import sum_gpu_mb

Tell = Callable[[str], None]

TRIAL_S = 0.12  # of voice, to see how fast the model is and to load what the first call loads


@dataclass(frozen=True)
class Result:
    """What was measured; parts that were not asked for are empty or None. ``gpu_mb``: the most that torch held on
    each GPU, added up, None where it used none."""

    card: Card
    workload: Workload
    sizes: tuple[SizeFigures, ...] = ()
    start: StartFigures | None = None
    sweep: Sweep | None = None
    sessions: SessionFigures | None = None
    comparison: Comparison | None = None
    gpu_mb: float | None = None

    def as_record(self) -> dict[str, Any]:
        """The JSON document."""
        record = as_record(replace(self, comparison=None))
        comparison = self.comparison.as_record() if self.comparison else None
        return {"schema": SCHEMA, **record, "comparison": comparison}


def run_benchmark(config: Config, wish: Wish, tell: Tell) -> Result:
    """Measure. ``tell`` hears how it gets on. Raises MuseTalkError."""
    gc.enable()  # see __main__.py; a run has it too
    config = settle(config, tell)
    name = choose_model(config, tell)
    if wish.sweep:
        check_sweep(wish.sweep, name)
    sizes = wished_sizes(config.video.size)
    tell(f"loading {name}")
    subject = open_subject(config, name, sizes[0], tell)
    card = describe_machine(subject)
    effort = choose_effort(wish, sizes, _time_face(subject, card), float(config.video.frame_rate))
    result = Result(card, _describe_workload(subject, effort))
    if wish.is_whole:
        figures = tuple(_measure_size(subject, size, effort, tell) for size in effort.sizes)
        tell("starting the command afresh")
        fresh = replace(config, model=cast("Model", name), video=replace(config.video, size=sizes[0].height))
        start = measure_start(fresh, speech(effort.seconds), effort.num_rounds)
        result = replace(result, sizes=figures, start=start)
    if wish.sweep:
        result = replace(result, sweep=measure_sweep(subject, wish.sweep, effort, tell))
    if wish.num_sessions:
        tell(f"{wish.num_sessions} sessions at once")
        sessions = measure_sessions(subject, wish.num_sessions, effort)
        result = replace(result, sessions=sessions)
    if wish.has_comparison:
        del subject  # it opens its own
        measured = compare(config, name, seconds=effort.seconds, rounds=effort.num_rounds, tell=tell)
        result = replace(result, comparison=measured)
    return replace(result, gpu_mb=sum_gpu_mb("max_memory_reserved"))


def settle(config: Config, tell: Tell) -> Config:
    """The avatar that everybody measures with, and weights by lot where the real ones are missing.

    Raises ConfigError for what only files have.
    """
    if config.compat == "upstream":
        raise ConfigError("bench measures streams, which have no compat", hint="leave 'compat' out of the settings")
    config = replace(config, avatar=PORTRAIT)
    is_neural = config.model not in ("auto", "warp")
    if is_neural and not config.random_weights and not has_weights(config.model):
        tell(f"the weights of {config.model} are not here: measured with weights by lot, which are as fast")
        config = replace(config, random_weights=True)
    return config


def _time_face(subject: Subject, card: Card) -> float:
    """Seconds for a face. The first call on a GPU has to load and choose much, so it counts only if it was quick."""
    first_s = 1 / run_model_loop(subject, speech(TRIAL_S))
    is_on_cpu = card.ceiling is None or card.ceiling.device == "cpu"
    if is_on_cpu or is_quick(first_s, float(subject.settings.frame_rate)):
        return first_s
    return 1 / run_model_loop(subject, speech(TRIAL_S))


def _measure_size(subject: Subject, size: FrameSize, effort: Effort, tell: Tell) -> SizeFigures:
    tell(f"{size.width} × {size.height}")
    subject = subject if size == subject.size else subject.sibling(size)
    fps = float(subject.settings.frame_rate)
    if not effort.is_brief:
        run_model_loop(subject, speech(subject.settings.block_s))  # every shape of batch, unmeasured
    stages, rates = measure_stages(subject, effort), measure_rates(subject, effort)
    delivered_fps = rates.delivered_fps.median
    latency = measure_latency(subject, effort.num_rounds) if delivered_fps > fps else None
    return SizeFigures(*size, stages, rates, latency, judge(stages, rates.model_fps.median, delivered_fps, fps))


def _describe_workload(subject: Subject, effort: Effort) -> Workload:
    settings = subject.settings
    return Workload(
        seconds=effort.seconds,
        rounds=effort.num_rounds,
        fps=float(settings.frame_rate),
        block_s=settings.block_s,
        batch_size=settings.batch_size,
        num_workers=settings.num_workers,
        note=effort.note,
    )
