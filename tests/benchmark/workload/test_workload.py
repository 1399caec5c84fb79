"""The voice and the face that everybody measures with."""

from __future__ import annotations

import numpy as np
import pytest

from musetalk_cli.benchmark.workload.endpoints import PushSource
from musetalk_cli.benchmark.workload.figures import FrameSize
from musetalk_cli.benchmark.workload.plan import SIZES
from musetalk_cli.benchmark.workload.speech import speech
from musetalk_cli.benchmark.workload.subject import draw_avatar
from musetalk_cli.engine.audio.decimation import Decimator
from musetalk_cli.engine.avatar.portrait import describe_portrait
from musetalk_cli.engine.models.musetalk.audio.silence import SilenceGate, SilenceSettings
from musetalk_cli.engine.models.warp.audio.mouth_shapes import MouthShapePredictor
from musetalk_cli.engine.types.messages import AUDIO_RATE_HZ


def test_the_voice_is_always_the_same() -> None:
    audio = speech(3.0)
    assert audio.dtype == np.int16
    assert audio.shape == (3 * AUDIO_RATE_HZ, 1)
    assert np.array_equal(audio, speech(3.0))
    assert not np.array_equal(audio, speech(3.0, seed=1))
    assert 8_000 < np.abs(audio).max() < 32_000


@pytest.mark.parametrize("seconds", [1 / 60, 1 / 25, 0.1])
def test_the_shortest_voice_is_speech(seconds: float) -> None:
    decimator = Decimator()
    samples = np.concatenate([decimator.push(speech(seconds)), decimator.finish(), np.zeros(32_000, np.float32)])
    times_s = np.arange(max(1, round(seconds * 25))) / 25
    assert SilenceGate(SilenceSettings()).weigh(samples, 0.0, times_s).min() == 1


def test_a_long_voice_goes_on() -> None:
    audio = speech(23.5)
    assert len(audio) == 23.5 * AUDIO_RATE_HZ
    assert np.abs(audio[-AUDIO_RATE_HZ:]).max() > 3_000


def test_every_frame_of_it_is_speech_and_moves_the_mouth() -> None:
    decimator = Decimator()
    samples = np.concatenate([decimator.push(speech(4.0)), decimator.finish()])
    times_s = np.arange(100) / 25
    assert SilenceGate(SilenceSettings()).weigh(samples, 0.0, times_s).min() > 0
    mouths = MouthShapePredictor.load().predict(samples, 0.0, times_s, frame_s=0.04)
    assert mouths.std(axis=0)[:3].min() > 0.03


def test_a_pushed_voice_gives_what_is_pushed_and_ends() -> None:
    voice = PushSource()
    audio = speech(0.1)
    voice.push(audio)
    voice.finish()
    assert voice.read() is audio
    assert voice.read() is None


@pytest.mark.parametrize("size", [*SIZES, FrameSize(96, 96)])
def test_the_avatar_fills_frames_of_any_shape(size: FrameSize) -> None:
    avatar = draw_avatar(size)
    shown = avatar.resized(size.height)
    assert (shown.width, shown.height) == size
    portrait = describe_portrait(avatar.name)
    left = (avatar.width - portrait.width) // 2
    shift = avatar.landmarks[0].nose - portrait.landmarks.nose
    assert np.allclose(shift, [left, 0])
    assert avatar.eyelids is not None
    assert avatar.eyelids.box[0] == portrait.lid_box[0] + left
    # The eyes with shut lids are drawn over the frame's own.
    x, y, width, height = avatar.eyelids.box
    eye = avatar.landmarks[0].left_upper_lid.mean(axis=0)
    assert x < eye[0] < x + width
    assert y < eye[1] < y + height
