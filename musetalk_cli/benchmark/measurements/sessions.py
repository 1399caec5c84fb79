"""Several live streams on one machine."""

from __future__ import annotations

from contextlib import ExitStack

from musetalk_cli.benchmark.workload.figures import SessionFigures, Spread
from musetalk_cli.benchmark.workload.pipeline_run import PipelineRun
from musetalk_cli.benchmark.workload.plan import BenchPlan
from musetalk_cli.benchmark.workload.speech import speech
from musetalk_cli.benchmark.workload.subject import Subject
from musetalk_cli.engine.types.messages import AudioArray


def measure_sessions(subject: Subject, count: int, plan: BenchPlan) -> SessionFigures:
    """``count`` pipelines in this process, on the same nets, as fast as they go. Raises MuseTalkError."""
    subjects = [subject, *(subject.clone_for(subject.size) for _ in range(count - 1))]
    totals, slowest = [], []
    for _ in range(plan.num_rounds):
        total_fps, slowest_fps = _run_at_once(subjects, speech(plan.seconds), is_brought_up=not plan.is_brief)
        totals.append(total_fps)
        slowest.append(slowest_fps)
    return SessionFigures(*subject.size, count, Spread.of(totals), Spread.of(slowest))


def _run_at_once(subjects: list[Subject], audio: AudioArray, *, is_brought_up: bool) -> tuple[float, float]:
    """Frames per second of all together, and of the slowest."""
    runs: list[PipelineRun] = []
    with ExitStack() as open_runs:
        for subject in subjects:
            runs.append(PipelineRun(subject))
            open_runs.callback(runs[-1].close)
        for run in runs if is_brought_up else ():
            run.bring_up()
        for run in runs:
            run.speak(audio)
        for run in runs:
            run.wait()
    span_s = max(run.clock.times_s[-1] for run in runs) - min(run.spoke_s for run in runs)
    return sum(run.num_frames for run in runs) / span_s, min(run.fps for run in runs)
