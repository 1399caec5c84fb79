"""Speech made into singing and shouting: what is held, where its phones lie, and how bright it is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.models.warp.audio.log_mel import SAMPLE_RATE_HZ
from tools.assets.audio_net.espeak import Phone
from tools.assets.audio_net.singing import shout, sing, stretch

PHONES = (Phone("", 0.0, 0.2), Phone("s", 0.2, 0.3), Phone("aː", 0.3, 0.5), Phone("t", 0.5, 0.6), Phone("", 0.6, 0.8))


def tone(hz: float, length_s: float) -> NDArray[np.float32]:
    time_s = np.arange(int(length_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return (0.3 * sum(np.sin(2.0 * np.pi * hz * k * time_s) / k for k in range(1, 6))).astype(np.float32)


def pitch_hz(samples: NDArray[np.float32]) -> float:
    power = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(power) * SAMPLE_RATE_HZ / len(samples))


def test_another_tempo_leaves_the_pitch() -> None:
    held = stretch(tone(200.0, 1.0), np.array([0.0, 1.0]), np.array([0.0, 2.5]))
    assert len(held) == 2.5 * SAMPLE_RATE_HZ
    assert abs(pitch_hz(held[4000:-4000]) - 200.0) < 4.0


def test_what_is_sung_holds_its_vowels() -> None:
    rng = np.random.default_rng(4)
    samples = tone(150.0, 0.8)
    samples[: int(0.3 * SAMPLE_RATE_HZ)] *= 0.0
    samples[int(0.5 * SAMPLE_RATE_HZ) :] *= 0.0
    for _ in range(4):
        audio, phones = sing(samples, PHONES, rng)
        assert [phone.name for phone in phones] == [phone.name for phone in PHONES]
        lengths_s = [phone.end_s - phone.start_s for phone in phones]
        assert 1.4 * 0.2 < lengths_s[2] < 4.1 * 0.2
        assert all(length_s < 1.4 * 0.2 for index, length_s in enumerate(lengths_s) if index != 2)
        assert abs(len(audio) / SAMPLE_RATE_HZ - phones[-1].end_s) < 0.01
        loud = np.flatnonzero(np.abs(audio) > 0.1) / SAMPLE_RATE_HZ
        assert abs(loud[0] - phones[2].start_s) < 0.03
        assert abs(loud[-1] - phones[2].end_s) < 0.03


def test_a_shout_is_brighter_and_overdriven() -> None:
    rng = np.random.default_rng(5)
    calm = tone(200.0, 1.0)
    loud = shout(calm, rng)
    assert loud.shape == calm.shape
    assert np.abs(loud).max() <= 0.7

    def brightness(samples: NDArray[np.float32]) -> float:
        power = np.abs(np.fft.rfft(samples)) ** 2
        return float(power[1500:].sum() / power.sum())

    assert brightness(loud) > 0.01 > brightness(calm)
