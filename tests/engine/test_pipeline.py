from __future__ import annotations

import os
import signal
import time
from fractions import Fraction

import numpy as np
import pytest

from fixtures.fakes import (
    HEIGHT,
    WIDTH,
    FakeFrames,
    FakeModel,
    FakeSource,
    HeldClock,
    MemorySink,
    encoder_process,
    fake_avatar,
    pipeline_settings,
    tone,
)
from fixtures.media import read_audio, read_frames
from musetalk_cli.engine.avatar.avatar import Avatar
from musetalk_cli.engine.live.clock import PacingBudget, PacingSettings
from musetalk_cli.engine.live.hooks import RunHooks
from musetalk_cli.engine.live.live_pace import LivePace
from musetalk_cli.engine.live.overload import Overload
from musetalk_cli.engine.pipeline import Pipeline, read_whole
from musetalk_cli.errors import EncoderError, SinkError, SourceError, StageError


def run(pipeline: Pipeline) -> None:
    try:
        pipeline.start()
        assert any(pipeline.wait(0.1) for _ in range(200)), "the pipeline did not end"
    finally:
        pipeline.close()


def build(
    ffmpeg: str,
    source: FakeSource,
    model: FakeModel,
    sink: MemorySink,
    avatar: Avatar | None = None,
    hooks: RunHooks | None = None,
    **changes: object,
) -> Pipeline:
    encoder = encoder_process(ffmpeg, model.frame_rate)
    settings = pipeline_settings(frame_rate=model.frame_rate, **changes)
    feed = read_whole(source, model, settings)
    return Pipeline(feed, model, avatar or fake_avatar(), encoder, sink, settings, time.perf_counter(), hooks)


def drawn_numbers(images: np.ndarray) -> list[int]:
    """What the fake model drew into each frame's region."""
    return [round(float(image[18:22, 28:36].mean())) - 16 for image in images]


def test_every_frame_in_order_and_the_whole_audio(ffmpeg: str) -> None:
    sink, audio = MemorySink(), tone(5.3)
    pipeline = build(ffmpeg, FakeSource(np.array_split(audio, 11)), FakeModel(delay_s=0.005), sink)
    run(pipeline)
    assert pipeline.error is None
    assert sink.is_final
    images = read_frames(ffmpeg, sink.data, WIDTH, HEIGHT)
    numbers = drawn_numbers(images)
    assert len(numbers) == 133  # 5.3 s × 25 = 132.5, halves up
    assert np.abs(np.array(numbers) - np.arange(133)).max() <= 2  # what x264 leaves of it
    heard = read_audio(ffmpeg, sink.data)[:, 0].astype(float)
    assert len(audio) <= len(heard) <= len(audio) + 2 * 1024  # AAC rounds up to its packets, and begins with one
    lag = 1024
    assert np.corrcoef(heard[lag : lag + len(audio)], audio[: len(heard) - lag, 0])[0, 1] > 0.99


def test_only_the_region_is_touched(ffmpeg: str) -> None:
    sink = MemorySink()
    run(build(ffmpeg, FakeSource([tone(1.0)]), FakeModel(), sink))
    images = read_frames(ffmpeg, sink.data, WIDTH, HEIGHT)[:, :HEIGHT].astype(int)
    outside = np.ones((HEIGHT, WIDTH), dtype=bool)
    outside[12:28, 20:44] = False  # the region and a rim, since x264 does not encode it exactly
    assert np.abs(images[:, outside] - 60).max() <= 2


def test_a_moving_avatar_goes_forward_and_back_across_blocks(ffmpeg: str) -> None:
    sink, frames = MemorySink(), FakeFrames(num_frames=40, step=4)
    avatar = fake_avatar(frames, Fraction(25))
    run(build(ffmpeg, FakeSource([tone(5.0)]), FakeModel(delay_s=0.002), sink, avatar))
    there, back = list(range(40)), list(range(38, 0, -1))
    expected = (there + back + there + back)[:125]
    assert frames.asked == expected
    images = read_frames(ffmpeg, sink.data, WIDTH, HEIGHT)
    shown = images[:, 36:44, 4:20].mean(axis=(1, 2))
    assert np.abs(shown - (60 + 4 * np.array(expected))).max() <= 2
    assert np.abs(np.array(drawn_numbers(images)) - np.arange(125)).max() <= 2
    assert frames.is_closed


def test_an_avatar_at_another_rate_keeps_its_own_pace(ffmpeg: str) -> None:
    frames = FakeFrames(num_frames=1000)
    avatar = fake_avatar(frames, Fraction(50))
    run(build(ffmpeg, FakeSource([tone(3.0)]), FakeModel(), MemorySink(), avatar))
    assert frames.asked == list(range(0, 150, 2))


def test_turns_are_shown_twice_where_that_is_wanted(ffmpeg: str) -> None:
    frames = FakeFrames(num_frames=4)
    avatar = fake_avatar(frames, Fraction(25))
    run(build(ffmpeg, FakeSource([tone(0.4)]), FakeModel(), MemorySink(), avatar, has_double_turns=True))
    assert frames.asked == [0, 1, 2, 3, 3, 2, 1, 0, 0, 1]


@pytest.mark.parametrize("num_workers", [1, 2, 7])
def test_the_number_of_workers_changes_nothing(ffmpeg: str, num_workers: int) -> None:
    outputs = []
    for workers in (4, num_workers):
        sink = MemorySink()
        run(build(ffmpeg, FakeSource([tone(3.1)]), FakeModel(delay_s=0.003), sink, num_workers=workers))
        outputs.append(read_frames(ffmpeg, sink.data, WIDTH, HEIGHT))
    assert np.array_equal(*outputs)


@pytest.mark.parametrize("rate", [Fraction(30_000, 1001), Fraction(10), Fraction(60)])
def test_other_frame_rates(ffmpeg: str, rate: Fraction) -> None:
    sink = MemorySink()
    run(build(ffmpeg, FakeSource([tone(4.7)]), FakeModel(rate), sink))
    assert len(read_frames(ffmpeg, sink.data, WIDTH, HEIGHT)) == int(Fraction(47, 10) * rate + Fraction(1, 2))


def test_a_stage_that_breaks_is_named_and_everything_ends(ffmpeg: str) -> None:
    pipeline = build(ffmpeg, FakeSource([tone(60.0)]), FakeModel(fails_at=100), MemorySink())
    run(pipeline)
    assert isinstance(pipeline.error, StageError)
    assert "compositing" in str(pipeline.error)
    assert "cannot make frame 100" in str(pipeline.error)


def test_a_sink_that_refuses_ends_the_run(ffmpeg: str) -> None:
    pipeline = build(ffmpeg, FakeSource([tone(60.0)]), FakeModel(), MemorySink(SinkError("no space left")))
    run(pipeline)
    assert isinstance(pipeline.error, SinkError)


def test_a_reader_that_leaves_ends_the_run_without_an_error(ffmpeg: str) -> None:
    pipeline = build(ffmpeg, FakeSource([tone(60.0)]), FakeModel(), MemorySink(BrokenPipeError()))
    run(pipeline)
    assert pipeline.error is None
    assert pipeline.is_reader_gone


def test_a_voice_that_breaks_off_is_delivered_up_to_there(ffmpeg: str) -> None:
    sink = MemorySink()
    pipeline = build(ffmpeg, FakeSource([tone(2.6)], error=SourceError("broke off")), FakeModel(), sink)
    run(pipeline)
    assert isinstance(pipeline.error, SourceError)
    assert (sink.is_whole, sink.is_final) == (True, False)
    assert len(read_frames(ffmpeg, sink.data, WIDTH, HEIGHT)) == 65


def test_stop_delivers_what_was_read(ffmpeg: str) -> None:
    sink = MemorySink()
    pipeline = build(ffmpeg, FakeSource([tone(3.0)], blocks_forever=True), FakeModel(), sink)
    try:
        pipeline.start()
        assert not pipeline.wait(0.3)
        pipeline.stop()
        assert pipeline.wait(10)
    finally:
        pipeline.close()
    assert sink.is_whole
    assert not sink.is_final, "an older file must stay"
    assert len(read_frames(ffmpeg, sink.data, WIDTH, HEIGHT)) == 75


def test_a_cut_ends_the_output_properly_behind_what_the_encoder_has(ffmpeg: str) -> None:
    sink = MemorySink()
    pipeline = build(ffmpeg, FakeSource([tone(60.0)], blocks_forever=True), FakeModel(delay_s=0.02), sink)
    try:
        pipeline.start()
        while not pipeline.snapshot().num_frames:
            assert not pipeline.wait(0.01)
        pipeline.cut()
        while not pipeline.is_delivered:
            pipeline.wait(0.01)
    finally:
        pipeline.close()
    assert sink.is_whole
    assert not sink.is_final, "an older file must stay"
    assert 0 < len(read_frames(ffmpeg, sink.data, WIDTH, HEIGHT)) < 1_500


class LeavesOut(RunHooks):
    """Leaves out some frames, wherever they are in their batch."""

    def __init__(self, frames: range, *, shows_idle: bool) -> None:
        self._frames, self._shows_idle = frames, shows_idle

    def choose(self, frames: range) -> list[bool]:
        return [frame not in self._frames for frame in frames]

    @property
    def shows_idle(self) -> bool:
        return self._shows_idle


def shown_by(ffmpeg: str, hooks: RunHooks) -> tuple[list[int], list[int], np.ndarray]:
    """Of each frame: the avatar's frame, the number in the region (its own where nothing was drawn), and the audio."""
    sink, frames, audio = MemorySink(), FakeFrames(num_frames=200, step=1), tone(2.4)
    run(build(ffmpeg, FakeSource([audio]), FakeModel(), sink, fake_avatar(frames, Fraction(25)), hooks))
    images = read_frames(ffmpeg, sink.data, WIDTH, HEIGHT)
    avatar_frames = [round(float(level)) - 60 for level in images[:, 36:44, 4:20].mean(axis=(1, 2))]
    heard = read_audio(ffmpeg, sink.data)[1024 : 1024 + len(audio), 0].astype(float)
    assert np.corrcoef(heard, audio[: len(heard), 0])[0, 1] > 0.99, "all of the audio, in its place"
    return avatar_frames, drawn_numbers(images), heard


def near(found: list[int], expected: list[int]) -> bool:
    return bool(np.abs(np.array(found) - np.array(expected)).max() <= 2)  # what x264 leaves of it


def test_frames_that_are_held_repeat_the_one_before_them(ffmpeg: str) -> None:
    avatar_frames, numbers, _ = shown_by(ffmpeg, LeavesOut(range(21, 40), shows_idle=False))
    expected = [20 if 21 <= frame < 40 else frame for frame in range(60)]
    assert near(avatar_frames, expected)
    assert near(numbers, expected)


def test_idle_frames_show_the_avatar_that_goes_on(ffmpeg: str) -> None:
    avatar_frames, numbers, _ = shown_by(ffmpeg, LeavesOut(range(21, 40), shows_idle=True))
    assert near(avatar_frames, list(range(60)))
    bare = 60 - 16  # the avatar's own grey, read as a number
    assert near(numbers, [bare + frame if 21 <= frame < 40 else frame for frame in range(60)])


def test_a_stream_that_begins_late_shows_the_avatar_until_there_is_a_face(ffmpeg: str) -> None:
    avatar_frames, numbers, _ = shown_by(ffmpeg, LeavesOut(range(5), shows_idle=False))
    assert near(numbers[5:], list(range(5, 60)))
    assert near(avatar_frames[5:], list(range(5, 60)))
    assert np.abs(np.array(numbers[:5]) - (60 - 16)).max() <= 5


def test_what_waits_for_its_time_leaves_at_once_when_stopped(ffmpeg: str) -> None:
    sink = MemorySink()
    budget = PacingBudget(HeldClock(), PacingSettings(2.3, 0.5, 1.1, 1.1, can_run_ahead=True))
    pace = LivePace(budget, Overload("hold", 0.5), Fraction(25))
    source = FakeSource([tone(4.4)], blocks_forever=True)
    pipeline = build(ffmpeg, source, FakeModel(), sink, hooks=pace)
    try:
        pipeline.start()
        while not pipeline.snapshot().num_frames:  # one may leave; the clock stands still
            assert not pipeline.wait(0.01)
        pipeline.stop()
        assert any(pipeline.wait(0.1) for _ in range(100))
    finally:
        pipeline.close()
    assert sink.is_whole
    assert len(read_frames(ffmpeg, sink.data, WIDTH, HEIGHT)) == 110


def test_abort_ends_at_once(ffmpeg: str) -> None:
    sink = MemorySink()
    pipeline = build(ffmpeg, FakeSource([tone(30.0)], blocks_forever=True), FakeModel(delay_s=0.02), sink)
    pipeline.start()
    pipeline.wait(0.2)
    pipeline.abort()
    pipeline.close()
    assert pipeline.error is None
    assert sink.is_whole is False


def test_an_encoder_that_is_killed_is_an_error(ffmpeg: str) -> None:
    sink = MemorySink()
    pipeline = build(ffmpeg, FakeSource([tone(2.0)] * 30), FakeModel(delay_s=0.01), sink)
    try:
        pipeline.start()
        while pipeline.snapshot().num_frames < 50:
            assert not pipeline.wait(0.01)
        os.kill(pipeline._encoder._process._child.pid, signal.SIGKILL)
        assert pipeline.wait(10)
    finally:
        pipeline.close()
    assert isinstance(pipeline.error, EncoderError)
    assert "SIGKILL" in str(pipeline.error)
    assert sink.is_whole is False


def test_a_pipeline_that_never_started_can_be_closed(ffmpeg: str) -> None:
    source = FakeSource([])
    build(ffmpeg, source, FakeModel(), MemorySink()).close()
    assert source.is_closed


def test_memory_is_bounded_by_the_channels(ffmpeg: str) -> None:
    model = FakeModel(delay_s=0.05)
    pipeline = build(ffmpeg, FakeSource([tone(2.0)] * 40), model, MemorySink(), num_workers=1, buffer_blocks=2)
    try:
        pipeline.start()
        pipeline.wait(0.5)
        ahead = len(model.blocks) * 50 - pipeline.snapshot().num_frames
        assert ahead <= 50 + 8 * 6
    finally:
        pipeline.abort()
        pipeline.close()


def test_the_snapshot_counts(ffmpeg: str) -> None:
    sink = MemorySink()
    pipeline = build(ffmpeg, FakeSource([tone(2.0)]), FakeModel(), sink)
    run(pipeline)
    snapshot = pipeline.snapshot()
    assert snapshot.num_frames == 50
    assert snapshot.media_s == 2.0
    assert snapshot.num_bytes == len(sink.data)
    assert snapshot.time_to_first_byte_s is not None
    assert 0 < snapshot.time_to_first_byte_s <= snapshot.time_to_first_fragment_s <= snapshot.elapsed_s
    assert snapshot.stages["model"].busy_s > 0
