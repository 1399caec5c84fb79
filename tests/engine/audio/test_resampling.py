from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from musetalk_cli.engine.audio.resampling import Resampler

# The last two have so many places between two inputs that the nearest of fewer is taken.
RATES = [8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000, 96_000, 44_099, 191_999]


def sine(rate_hz: int, duration_s: float, frequency_hz: float) -> np.ndarray:
    times = np.arange(round(rate_hz * duration_s)) / rate_hz
    return (0.5 * np.sin(2 * np.pi * frequency_hz * times)).astype(np.float32)[:, None]


@pytest.mark.parametrize("rate_hz", RATES)
def test_a_tone_stays_where_and_what_it_is(rate_hz: int) -> None:
    out = Resampler(rate_hz, 1).push(sine(rate_hz, 1.0, 1_000))[:, 0] / 32768
    expected = sine(48_000, 1.0, 1_000)[: len(out), 0]
    assert 48_000 - len(out) < 48_000 * 32 / rate_hz + 50, "little is kept back"
    inside = slice(1_000, -1_000)
    assert np.abs(out[inside] - expected[inside]).max() < 2e-3, "no delay, no change of level"


@pytest.mark.parametrize("rate_hz", RATES)
def test_how_it_is_cut_changes_nothing(rate_hz: int) -> None:
    audio = np.random.default_rng(1).uniform(-0.5, 0.5, (rate_hz // 2, 2)).astype(np.float32)
    whole, pieces = Resampler(rate_hz, 2), Resampler(rate_hz, 2)
    cuts = np.sort(np.random.default_rng(2).integers(0, len(audio), 40))
    joined = np.concatenate([pieces.push(piece) for piece in np.split(audio, cuts)])
    assert np.array_equal(joined, whole.push(audio))


def test_what_48_khz_cannot_hold_is_taken_out_and_does_not_fold_back() -> None:
    out = Resampler(96_000, 1).push(sine(96_000, 0.5, 30_000))[500:-500] / 32768
    assert np.abs(out).max() < 1e-3


def test_no_images_above_the_old_nyquist_frequency() -> None:
    out = Resampler(16_000, 1).push(sine(16_000, 1.0, 3_000))[1_000:-1_000, 0] / 32768
    spectrum = np.abs(np.fft.rfft(out * np.hanning(len(out))))
    frequencies = np.fft.rfftfreq(len(out), 1 / 48_000)
    assert spectrum[frequencies > 8_500].max() < spectrum.max() * 10 ** (-70 / 20)


def test_too_loud_is_clipped_and_does_not_wrap() -> None:
    out = Resampler(24_000, 1).push(1.5 * np.sign(sine(24_000, 0.2, 100)))
    assert out.max() == 32767
    assert out.min() == -32768


@pytest.mark.parametrize("rate_hz", [4_001, 44_099, 383_987])
def test_odd_rates_need_little_memory(rate_hz: int) -> None:
    tracemalloc.start()
    try:
        Resampler(rate_hz, 2).push(np.zeros((rate_hz, 2), dtype=np.float32))
        assert tracemalloc.get_traced_memory()[1] < 160e6
    finally:
        tracemalloc.stop()
