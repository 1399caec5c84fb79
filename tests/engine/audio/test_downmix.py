"""One channel out of two: the mean, unless they cancel or one says nothing."""

from __future__ import annotations

import numpy as np
import pytest

from fixtures.fakes import tone
from musetalk_cli.engine.audio.decimation import Decimator
from musetalk_cli.engine.audio.downmix import Downmix
from musetalk_cli.engine.audio.voice_input import VoiceInput

SETTLED = 4_800  # samples after which the choice has been made: 0.1 s


def voice(seconds: float = 1.0) -> np.ndarray:
    """A quiet second of speech-like noise, int16 (n,)."""
    noise = np.random.default_rng(3).normal(0, 3_000, round(48_000 * seconds))
    return np.convolve(noise, np.ones(8) / 3, "same").astype(np.int16)


def rms(audio: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(audio - audio.mean(), dtype=np.float64))))


def test_one_channel_stays_as_it_is_and_a_stereo_voice_is_the_mean_to_the_last_bit() -> None:
    audio = tone(1.0, 2) // 2 + np.random.default_rng(0).integers(-900, 900, (48_000, 2)).astype(np.int16)
    np.testing.assert_array_equal(Downmix().push(audio[:, :1]), audio[:, 0])
    np.testing.assert_array_equal(Downmix().push(audio), audio.astype(np.float32).mean(axis=1))


@pytest.mark.parametrize("offset", [0, 6_000])
@pytest.mark.parametrize(("left", "right"), [(1.0, -1.0), (0.6, -1.0), (1.0, 0.0), (0.0, 1.0), (-1.0, 0.9)])
def test_a_voice_that_cancels_or_is_in_one_channel_is_there(left: float, right: float, offset: int) -> None:
    spoken = voice()
    stereo = (np.stack([left * spoken, right * spoken], axis=1) + offset).astype(np.int16)
    mono = Downmix().push(stereo)
    louder = stereo[:, 0 if abs(left) >= abs(right) else 1]
    np.testing.assert_array_equal(mono[SETTLED:], louder[SETTLED:])


def test_there_is_no_click_where_the_choice_changes() -> None:
    hum = 8_000 * np.sin(np.arange(48_000) * 2 * np.pi * 200 / 48_000)
    sign = np.where(np.arange(48_000) < 24_000, 1.0, -1.0)
    stereo = np.stack([hum, sign * hum], axis=1).astype(np.int16)
    stereo[24_000:24_010, 1] = 0
    mono = Downmix().push(stereo)
    steepest = np.abs(np.diff(hum)).max()
    assert np.abs(np.diff(mono[24_020:])).max() < 1.2 * steepest
    assert rms(mono[-SETTLED:]) == pytest.approx(rms(hum), rel=0.01)


def test_silence_keeps_the_choice() -> None:
    spoken = voice(0.5)
    inverted = np.stack([spoken, -spoken], axis=1)
    downmix = Downmix()
    downmix.push(inverted)
    downmix.push(np.zeros((96_000, 2), np.int16))
    np.testing.assert_array_equal(downmix.push(inverted), spoken)


@pytest.mark.parametrize("step", [1, 333, 480, 7_001])
def test_the_cut_makes_no_difference(step: int) -> None:
    spoken = voice(0.4)
    stereo = np.concatenate([np.stack([spoken, spoken], 1), np.stack([spoken, -spoken], 1)])
    whole, cut = Downmix().push(stereo), Downmix()
    pieces = [cut.push(stereo[at : at + step]) for at in range(0, len(stereo), step)]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


def test_a_model_and_a_mono_session_get_the_inverted_voice() -> None:
    spoken = voice()
    inverted = np.stack([spoken, -spoken], axis=1)
    assert rms(Decimator().push(inverted)) > 0.5 * rms(Decimator().push(spoken[:, None]))
    for samples in (inverted, inverted.astype(np.float32) / 32768.0):
        pushed = np.concatenate(list(VoiceInput(1).convert(samples, 48_000)))
        np.testing.assert_array_equal(pushed[SETTLED:, 0], spoken[SETTLED:])
