"""The measuring itself, on frames that cost little."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from musetalk_cli.benchmark.measurements.block_latency import measure_latency
from musetalk_cli.benchmark.measurements.cold_start import measure_start
from musetalk_cli.benchmark.measurements.sessions import measure_sessions
from musetalk_cli.benchmark.measurements.stages import STAGES, CallLog, run_encoder, run_pipeline, run_stages
from musetalk_cli.benchmark.workload.endpoints import PushSource, TimestampSink
from musetalk_cli.benchmark.workload.figures import FrameSize
from musetalk_cli.benchmark.workload.pipeline_run import HEAD_MARGIN_S, PipelineRun
from musetalk_cli.benchmark.workload.plan import BenchPlan
from musetalk_cli.benchmark.workload.speech import speech
from musetalk_cli.benchmark.workload.subject import Subject, open_subject
from musetalk_cli.configuration.schema import AudioConfig, Config, VideoConfig
from musetalk_cli.engine.types.messages import AUDIO_RATE_HZ
from musetalk_cli.engine.video.encoder import NUM_LATE
from musetalk_cli.errors import EncoderError, StageError

SIZE = FrameSize(96, 96)
BRIEF = BenchPlan(0.4, 1, (SIZE,), is_brief=True)


@pytest.fixture(scope="module")
def subject() -> Subject:
    config = replace(Config(), audio=AudioConfig(target_duration=0.4))
    return open_subject(config, "warp", SIZE, lambda text: None)


def test_what_is_delivered_is_what_was_said(subject: Subject) -> None:
    run = PipelineRun(subject)
    try:
        run.bring_up()
        run.speak(speech(1.0))
        run.wait()
    finally:
        run.close()
    lead = 3 * 0.4 + subject.model.after_s
    assert len(run.clock.times_s) == pytest.approx((lead + 1.0) * 25, abs=1)
    assert run.clock.times_s == sorted(run.clock.times_s)
    assert run.fps > 0


def test_each_stage_logs_its_own_frames(subject: Subject) -> None:
    logs = {name: CallLog() for name in STAGES}
    images = run_stages(subject, speech(0.4), logs)
    assert {name: sum(count for _, count in log.calls) for name, log in logs.items()} == {
        **dict.fromkeys(STAGES, 10),
        "encode": 0,
    }
    assert [image.shape for image in images] == [(144, 96)] * 10


def test_images_of_a_block_come_after_its_look_ahead(subject: Subject) -> None:
    latency = measure_latency(subject, 2)
    assert subject.model.after_s < latency.first_s.least <= latency.last_s.most


@pytest.mark.parametrize("fps", [25, 50, 60])
def test_one_image_of_a_block_waits_for_the_next(subject: Subject, fps: int) -> None:
    config = replace(subject.config, video=VideoConfig(fps=fps))
    voice, clock = PushSource(), TimestampSink()
    pipeline = open_subject(config, "warp", SIZE, lambda text: None).build_pipeline(voice, clock)
    audio = speech(3.0)
    try:
        pipeline.start()
        said = 0
        for number in range(1, 6):
            end = int((0.4 * number + subject.model.after_s + HEAD_MARGIN_S) * AUDIO_RATE_HZ)
            voice.push(audio[said:end])
            said, num_made = end, round(0.4 * number * fps)
            assert clock.wait_for(num_made - NUM_LATE, 20.0)
        assert not clock.wait_for(num_made, 0.2)
    finally:
        pipeline.close()


def test_sessions_share_the_machine(subject: Subject) -> None:
    figures = measure_sessions(subject, 2, BRIEF)
    assert figures.count == 2
    assert 0 < figures.slowest_fps.median <= figures.total_fps.median


def test_the_encoder_alone_is_timed_from_one_arrival_to_the_next(subject: Subject) -> None:
    images = [np.full((144, 96), level, np.uint8) for level in (60, 90, 120)]
    for seconds, most in ((0.4, 10), (0.04, 3)):  # never fewer than three frames
        calls = run_encoder(subject, images, speech(seconds))
        assert 1 <= sum(count for _, count in calls) <= most
        assert all(span_s > 0 and count > 0 for span_s, count in calls)
    with pytest.raises(EncoderError):
        run_encoder(replace(subject, codec="no-such-codec"), images, speech(8.0))


def test_an_encoder_that_fails_is_reported(subject: Subject) -> None:
    with pytest.raises(EncoderError):
        run_pipeline(replace(subject, codec="no-such-codec"), speech(0.4), is_brought_up=True)


@pytest.mark.timeout(20)
def test_a_fresh_command_may_say_more_than_a_pipe_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    talker = tmp_path / "python"
    talker.write_text(
        "#!/bin/sh\nhead -c 300000 /dev/zero | tr '\\0' 'x' >&2\necho >&2\necho 'it was too much' >&2\nexit 1\n"
    )
    talker.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(talker))
    with pytest.raises(StageError, match="failed: it was too much"):
        measure_start(Config(), speech(0.2), 1)


def test_a_fresh_command_that_fails_is_reported() -> None:
    with pytest.raises(StageError, match=r"a fresh musetalk stream failed: .*no ffmpeg at 'nowhere'"):
        measure_start(replace(Config(), ffmpeg="nowhere"), speech(0.2), 1)
