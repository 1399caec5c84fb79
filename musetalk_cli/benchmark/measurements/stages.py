"""Rates: each stage alone, the model loop, and the whole pipeline."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import chain, cycle, groupby, islice, pairwise

import numpy as np

from musetalk_cli.benchmark.workload.endpoints import TimestampSink
from musetalk_cli.benchmark.workload.figures import Rates, Spread, StageFigures
from musetalk_cli.benchmark.workload.pipeline_run import PipelineRun
from musetalk_cli.benchmark.workload.plan import BenchPlan
from musetalk_cli.benchmark.workload.speech import speech
from musetalk_cli.benchmark.workload.subject import Subject
from musetalk_cli.engine.audio.blocks import BlockCutter, split_block
from musetalk_cli.engine.runtime.stage import Aborted, RunState
from musetalk_cli.engine.runtime.timing import StageTimer
from musetalk_cli.engine.types.messages import AUDIO_RATE_HZ, AudioArray, ByteArray, FeatureBatch, FrameBatch
from musetalk_cli.engine.video.compositing import composite
from musetalk_cli.engine.video.encoder import Encoder

STAGES = ("features", "avatar", "model", "composite", "encode")
# Frames that are held to feed the encoder alone: 150 MB at 1080p. They are shown forwards and back.
NUM_HELD = 48


class CallLog:
    """Seconds and frames of a stage's calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, int]] = []

    @contextmanager
    def measure(self, num_frames: int) -> Iterator[None]:
        """Time the body, which makes ``num_frames`` frames."""
        started_s = time.perf_counter()
        yield
        self.calls.append((time.perf_counter() - started_s, num_frames))


def measure_rates(subject: Subject, plan: BenchPlan, model_fps: float | None = None) -> Rates:
    """The model loop, unless its rate is known, and the pipeline in turn, round after round. Raises MuseTalkError."""
    audio = speech(plan.seconds)
    loops, runs = [], []
    for _ in range(plan.num_rounds):
        loops.append(run_model_loop(subject, audio) if model_fps is None else model_fps)
        runs.append(run_pipeline(subject, audio, is_brought_up=not plan.is_brief))
    delivered, firsts = zip(*runs, strict=True)
    return Rates(Spread.of(loops), Spread.of(delivered), Spread.of(firsts))


def measure_stages(subject: Subject, plan: BenchPlan) -> Mapping[str, StageFigures]:
    """Every stage by itself, with a block at most, on one thread; the encoder on as many as it takes.

    Features are those of a whole block even where few faces are made of it. Raises MuseTalkError.
    """
    audio = speech(min(plan.seconds, subject.settings.block_s))
    logs = {name: CallLog() for name in STAGES}
    for _ in range(plan.num_rounds):
        images = run_stages(subject, audio, logs)
        logs["encode"].calls += run_encoder(subject, images, audio)
    if plan.is_brief:
        logs["features"] = CallLog()
        for _ in make_batches(subject, speech(subject.settings.block_s), logs["features"]):
            pass
    return {name: StageFigures.of(log.calls) for name, log in logs.items()}


def run_pipeline(subject: Subject, audio: AudioArray, *, is_brought_up: bool) -> tuple[float, float]:
    """From the voice to the encoder's bytes: frames per second, and seconds from the start to the first frame.

    Without ``is_brought_up``, the start counts in. Raises MuseTalkError.
    """
    run = PipelineRun(subject)
    try:
        if is_brought_up:
            run.bring_up()
        run.speak(audio)
        run.wait()
    finally:
        run.close()
    return run.fps, run.clock.times_s[0] - run.started_s


def run_model_loop(subject: Subject, audio: AudioArray) -> float:
    """Faces only, by all workers, their features at hand: frames per second."""
    batches = list(make_batches(subject, audio, CallLog()))
    pool = ThreadPoolExecutor(subject.settings.num_workers, thread_name_prefix="musetalk-bench")
    try:
        started_s = time.perf_counter()
        for _ in pool.map(subject.model.make_faces, batches):
            pass
        elapsed_s = time.perf_counter() - started_s
    finally:
        pool.shutdown(cancel_futures=True)
    return sum(len(batch.frames) for batch in batches) / elapsed_s


def run_stages(subject: Subject, audio: AudioArray, logs: Mapping[str, CallLog]) -> list[ByteArray]:
    """One batch after the other through all stages but the encoder; returns the first frames that come out."""
    held: list[ByteArray] = []
    for batch in make_batches(subject, audio, logs["features"]):
        count = len(batch.frames)
        with logs["avatar"].measure(count):
            images = tuple(subject.shown.frames.read(batch.avatar_frames))
        with logs["model"].measure(count):
            faces = subject.model.make_faces(replace(batch, images=images))
        with logs["composite"].measure(count):
            frames = composite(faces)
        held += frames.images[: NUM_HELD - len(held)]
    return held


def run_encoder(subject: Subject, images: Sequence[ByteArray], audio: AudioArray) -> list[tuple[float, int]]:
    """ffmpeg alone, fed with frames that are there: the seconds from one arrival of bytes to the next, and how many
    frames came with that. Its start counts only where all come at once.

    Raises EncoderError.
    """
    state, clock, started_s = RunState(), TimestampSink(), time.perf_counter()
    rate = subject.settings.frame_rate
    num_frames, step = max(3, round(len(audio) * rate / AUDIO_RATE_HZ)), round(AUDIO_RATE_HZ / rate)
    parts = np.resize(audio, (num_frames, step, 1))
    shown = islice(cycle(chain(images, reversed(images))), num_frames)
    encoder = Encoder(subject.start_encoder(), clock, state, StageTimer())
    try:
        encoder.start()
        with suppress(Aborted):  # why, the state knows
            for image, part in zip(shown, parts, strict=True):
                encoder.write(FrameBatch((image,), part))
        encoder.finish()
        for stage in encoder.stages:
            stage.join()
    finally:
        encoder.close()
    if state.error:
        raise state.error
    arrivals = [(time_s, len(list(group))) for time_s, group in groupby(clock.times_s)]
    gaps = [(after_s - before_s, count) for (before_s, _), (after_s, count) in pairwise(arrivals)]
    return gaps or [(clock.times_s[-1] - started_s, num_frames)]


def make_batches(subject: Subject, audio: AudioArray, log: CallLog) -> Iterator[FeatureBatch]:
    """What the pipeline would hand to its workers. All batches share one frame, which is not to be written into."""
    model, settings = subject.model, subject.settings
    cutter = BlockCutter(settings.block_s, model.before_s, model.after_s, settings.frame_rate, low_pass=model.low_pass)
    image = subject.shown.frames.read([0])[0]
    for block in (*cutter.push(audio), *cutter.finish()):
        with log.measure(len(block.frames)):
            features = model.features(block)
        for batch in split_block(block, features, settings.batch_size, settings.frame_rate):
            count = len(batch.frames)
            yield replace(batch, avatar_frames=(0,) * count, images=(image,) * count)
