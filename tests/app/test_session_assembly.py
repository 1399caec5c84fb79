"""Sessions of the real model: the frames of a voice that is pushed are those of a video that is rendered."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest

from fixtures.fakes import HeldClock
from musetalk_cli.app.session_assembly import OpenAvatar, open_avatar
from musetalk_cli.config import AudioConfig, Config, VideoConfig
from musetalk_cli.engine.audio.voice_input import ArraySource
from musetalk_cli.engine.live.clock import StreamClock
from musetalk_cli.engine.outputs.sinks import NullSink
from musetalk_cli.engine.pipeline import Pipeline, PipelineSettings, read_whole
from musetalk_cli.engine.session import Session, SessionSettings
from musetalk_cli.engine.types.session import Frame
from musetalk_cli.engine.video.frame_queue import FrameQueue

BLOCK_S = 0.4
CONFIG = Config(model="warp", video=VideoConfig(size=96), audio=AudioConfig(target_duration=BLOCK_S))


@pytest.fixture(params=["nora", "theo"])
def avatar(request: pytest.FixtureRequest) -> Iterator[OpenAvatar]:
    with open_avatar(Config(**{**vars(CONFIG), "avatar": request.param}), str) as opened:
        yield opened


def speech(duration_s: float) -> np.ndarray:
    """A buzz with a syllable rhythm, int16 (n,) at 48 kHz."""
    times = np.arange(int(duration_s * 48_000)) / 48_000
    envelope = np.clip(np.sin(2 * np.pi * 3 * times), 0, 1)
    return (8_000 * np.sign(np.sin(2 * np.pi * 120 * times)) * envelope).astype(np.int16)


def render(avatar: OpenAvatar, voice: np.ndarray) -> list[np.ndarray]:
    """All frames of a pipeline that reads the voice as a file."""
    rate = avatar.frame_rate
    settings = PipelineSettings(BLOCK_S, 2, 8, 2, rate)
    queue = FrameQueue(rate, 1, StreamClock(lambda: 1e3 * time.monotonic()), lead_s=1e9)
    feed = read_whole(ArraySource(voice, 48_000), avatar._model, settings)
    pipeline = Pipeline(feed, avatar._model, avatar._shown, queue, NullSink(), settings, 0.0)
    pipeline.start()
    images = []
    while (frame := queue.take()) is not None:
        images.append(frame.image)
    pipeline.abort()
    pipeline.wait(5)
    pipeline._workers.close()
    return images


@pytest.mark.parametrize("num_pieces", [1, 7, 150])
def test_a_pushed_voice_has_the_frames_of_a_rendered_one(avatar: OpenAvatar, num_pieces: int) -> None:
    voice, clock = speech(2.3), HeldClock()
    settings = SessionSettings(avatar.frame_rate, block_s=BLOCK_S, lead_s=-1.0, late_after_s=1e9)
    with Session(avatar._model.clone(), avatar._shown, settings, clock=clock) as session:
        for piece in np.array_split(voice, num_pieces):
            session.push(piece, 48_000)
        session.finish()
        clock.let_go()
        spoken = [item.image for item in session if isinstance(item, Frame) and item.utterance == 0]
    rendered = render(avatar, voice)
    assert len(spoken) == len(rendered) == 57
    for number, (mine, theirs) in enumerate(zip(spoken, rendered, strict=True)):
        assert np.array_equal(mine, theirs), f"frame {number}"
