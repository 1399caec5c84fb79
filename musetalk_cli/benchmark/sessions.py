"""Several live streams on one machine."""

from __future__ import annotations

from musetalk_cli.benchmark.figures import SessionFigures, Spread
from musetalk_cli.benchmark.measuring import PIECE, TICK_S
from musetalk_cli.benchmark.subject import Subject
from musetalk_cli.benchmark.workload import PictureClock, PushedVoice
from musetalk_cli.engine.messages import SoundArray
from musetalk_cli.engine.pipeline import Pipeline


def measure_sessions(subject: Subject, count: int, sound: SoundArray, num_rounds: int) -> SessionFigures:
    """``count`` pipelines in this process, on the same nets, as fast as they go. Raises MuseTalkError."""
    subjects = [subject, *(subject.sibling(subject.size) for _ in range(count - 1))]
    totals, slowest = [], []
    for _ in range(num_rounds):
        clocks = _run_at_once(subjects, sound)
        span_s = max(clock.times_s[-1] for clock in clocks) - min(clock.times_s[0] for clock in clocks)
        totals.append(sum(len(clock.times_s) for clock in clocks) / max(span_s, 1e-9))
        slowest.append(min(clock.fps() for clock in clocks))
    return SessionFigures(*subject.size, count, Spread.of(totals), Spread.of(slowest))


def _run_at_once(subjects: list[Subject], sound: SoundArray) -> list[PictureClock]:
    voices, clocks = [PushedVoice() for _ in subjects], [PictureClock() for _ in subjects]
    pipelines: list[Pipeline] = []
    try:
        for subject, voice, clock in zip(subjects, voices, clocks, strict=True):
            pipelines.append(subject.build_pipeline(voice, clock))
        for pipeline, voice in zip(pipelines, voices, strict=True):
            pipeline.start()
            for at in range(0, len(sound), PIECE):
                voice.push(sound[at : at + PIECE])
            voice.finish()
        for pipeline in pipelines:
            while not pipeline.wait(TICK_S):
                pass
    finally:
        for pipeline in pipelines:
            pipeline.close()
    for pipeline in pipelines:
        if pipeline.error:
            raise pipeline.error
    return clocks
