"""A pipeline on a clock: slow models, each policy, and what is delivered anyway."""

from __future__ import annotations

import threading
import time
from fractions import Fraction

import numpy as np
import pytest

from fixtures.fakes import (
    HEIGHT,
    WIDTH,
    FakeModel,
    FakeSource,
    MemorySink,
    encoder_process,
    fake_avatar,
    pipeline_settings,
    tone,
)
from fixtures.media import read_audio, read_frames
from musetalk_cli.engine.live.clock import PacingBudget, PacingSettings, StreamClock
from musetalk_cli.engine.live.feed import LiveFeed
from musetalk_cli.engine.live.latency import LatencyLog
from musetalk_cli.engine.live.live_pace import LivePace
from musetalk_cli.engine.live.overload import Overload, OverloadPolicy
from musetalk_cli.engine.pipeline import Pipeline, read_whole

BLOCK_S = 0.4
LATE_S = 0.3


class SlowModel(FakeModel):
    """Takes as long for every frame as 1 / 0.6 frames last; its idle face costs nothing."""

    def make_faces(self, batch):  # type: ignore[no-untyped-def]
        time.sleep(len(batch.frames) * 0.04 / 0.6)
        return super().make_faces(batch)


def run_live(
    ffmpeg: str, model: FakeModel, policy: OverloadPolicy, duration_s: float
) -> tuple[Pipeline, MemorySink, float]:
    """A live pipeline to its end; also the most stream seconds that were ever inside it."""
    sink = MemorySink()
    settings = PacingSettings(BLOCK_S + model.after_s + 0.05, 0.5, 1.1, 1.11, can_run_ahead=True)
    budget = PacingBudget(StreamClock(), settings)
    feed = LiveFeed(FakeSource(np.array_split(tone(duration_s), 20)), budget, fills_gaps=False)
    pace = LivePace(budget, Overload(policy, LATE_S), Fraction(25))
    encoder = encoder_process(ffmpeg)
    small = pipeline_settings(block_s=BLOCK_S, batch_size=2, num_workers=1, buffer_blocks=2)
    feed.open()
    blocks = read_whole(feed, model, small, pace.process_audio)
    pipeline = Pipeline(blocks, model, fake_avatar(), encoder, sink, small, time.perf_counter(), pace)
    most_inside_s = 0.0
    try:
        pipeline.start()
        while not pipeline.wait(0.05):
            read_s = pace.stats().buffer_s  # nothing reports what has left
            most_inside_s = max(most_inside_s, read_s - pipeline.snapshot().num_frames / 25)
    finally:
        pipeline.close()
    return pipeline, sink, most_inside_s


@pytest.mark.parametrize("policy", ["hold", "idle", "skip"])
def test_a_slow_model_costs_faces_and_nothing_else(ffmpeg: str, policy: OverloadPolicy) -> None:
    pipeline, sink, most_inside_s = run_live(ffmpeg, SlowModel(), policy, 6.0)
    assert pipeline.error is None
    live = pipeline.snapshot().live
    assert live
    counts = {"hold": live.counts.num_held, "idle": live.counts.num_idle, "skip": live.counts.num_skipped}
    assert [name for name, number in counts.items() if number] == [policy]
    assert 20 < counts[policy] < 110
    assert abs(live.skew_ms) < 20
    assert most_inside_s < 6 * BLOCK_S + 2 * LATE_S, "blocks and batches in its channels, however slow"
    assert len(read_frames(ffmpeg, sink.data, WIDTH, HEIGHT)) == 150
    heard = read_audio(ffmpeg, sink.data)[1024 : 1024 + 6 * 48_000, 0].astype(float)
    assert np.corrcoef(heard, tone(6.0)[: len(heard), 0])[0, 1] > 0.99, "all of the audio, in its place"


def test_features_that_are_too_slow_cost_blocks_and_no_audio(ffmpeg: str) -> None:
    class SlowFeatures(FakeModel):
        def features(self, block):  # type: ignore[no-untyped-def]
            time.sleep(2 * BLOCK_S)
            return super().features(block)

    pipeline, sink, most_inside_s = run_live(ffmpeg, SlowFeatures(), "hold", 6.0)
    live = pipeline.snapshot().live
    assert live
    assert live.counts.num_held > 40
    assert abs(live.skew_ms) < 20
    assert most_inside_s < 6 * BLOCK_S + 4 * LATE_S + 2 * BLOCK_S
    assert len(read_frames(ffmpeg, sink.data, WIDTH, HEIGHT)) == 150
    heard = read_audio(ffmpeg, sink.data)[1024 : 1024 + 6 * 48_000, 0].astype(float)
    assert np.corrcoef(heard, tone(6.0)[: len(heard), 0])[0, 1] > 0.99


def test_a_quick_model_leaves_out_nothing(ffmpeg: str) -> None:
    pipeline, sink, _ = run_live(ffmpeg, FakeModel(), "hold", 2.0)
    live = pipeline.snapshot().live
    assert live
    assert (live.counts.num_held, live.counts.num_idle, live.counts.num_skipped) == (0, 0, 0)
    assert len(read_frames(ffmpeg, sink.data, WIDTH, HEIGHT)) == 50


def test_a_muted_voice_is_zeros_until_it_is_audible_again() -> None:
    budget = PacingBudget(StreamClock(), PacingSettings(0.5, 0.5, 1.1, 1.11, can_run_ahead=True))
    pace = LivePace(budget, Overload("hold", LATE_S), Fraction(25))
    audio = tone(0.1, 2)
    assert np.array_equal(pace.process_audio(audio), audio)
    assert pace.toggle_mute()
    assert pace.stats().is_muted
    silent = pace.process_audio(audio)
    assert silent.shape == audio.shape
    assert silent.dtype == np.int16
    assert not silent.any()
    assert audio.any(), "the source's own array stays as it is"
    assert not pace.toggle_mute()
    assert not pace.stats().is_muted
    assert np.array_equal(pace.process_audio(audio), audio)
    assert pace.stats().silence_share == pytest.approx(1 / 3)


def test_the_latency_of_each_step_adds_up() -> None:
    now_s = 0.0
    log = LatencyLog(Fraction(25), lambda: now_s)
    for block in range(3):
        for _ in range(50):
            now_s += 0.04
            log.arrive(1920)
        frames = range(50 * block, 50 * block + 50)
        log.cut(frames)
        for step, took_s in (("features", 0.01), ("model", 0.1), ("composite", 0.002)):
            now_s += took_s
            log.mark(step, frames)
        now_s += 0.05
        for _ in range(50):
            log.leave(1)
        now_s -= 0.162
    figures = log.figures()
    assert figures.steps["features"] == pytest.approx((10, 10))
    assert figures.steps["model"] == pytest.approx((100, 100))
    assert figures.steps["composite"] == pytest.approx((2, 2))
    assert figures.steps["encode"] == pytest.approx((50, 50))
    assert figures.now_p50_s == pytest.approx(0.98 + 0.162, abs=0.03), "half a block, and the rest"
    assert figures.now_p95_s == pytest.approx(1.88 + 0.162, abs=0.05)
    assert figures.run_p50_s == pytest.approx(figures.now_p50_s, abs=0.03)


def test_gates_that_open_as_a_frame_begins_to_wait_let_it_go(monkeypatch: pytest.MonkeyPatch) -> None:
    class OpenedEvent(threading.Event):
        def clear(self) -> None:
            pace.open_gates()
            super().clear()

    budget = PacingBudget(StreamClock(lambda: 0.0), PacingSettings(0.0, 0.0, 1.0, 1.0, can_run_ahead=True))
    pace = LivePace(budget, Overload("hold", 0.5), Fraction(25))
    monkeypatch.setattr(pace, "_woken", OpenedEvent())
    waiter = threading.Thread(target=pace.wait_for_turn, args=(range(1), lambda: True), daemon=True)
    budget.release_wait_s(-1000.0)  # the first frame: this one is due much later
    waiter.start()
    waiter.join(10)
    assert not waiter.is_alive()
