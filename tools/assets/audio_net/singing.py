"""Spoken phrases → the same sung or shouted, as far as signal processing goes: float32 (n,) at 16 kHz and their phones.

Sung: vowels held, another pitch, vibrato. Shouted: higher, with more energy in the upper harmonics, and overdriven.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.models.warp.audio.log_mel import SAMPLE_RATE_HZ
from tools.assets.audio_net import augment
from tools.assets.audio_net.espeak import Phone
from tools.assets.audio_net.phonemes import is_vowel

FloatArray = NDArray[np.float32]
Rng = np.random.Generator

_WINDOW, _HOP, _SEARCH = 512, 256, 96  # samples: of the grains that are overlapped, and how far each may move
_VIBRATO_HZ, _VIBRATO_DEPTH = (4.5, 6.5), (0.005, 0.03)
_VOWELS_LONGER, _OTHERS_LONGER = (1.5, 4.0), (1.0, 1.3)


def sing(samples: FloatArray, phones: Sequence[Phone], rng: Rng) -> tuple[FloatArray, list[Phone]]:
    """Hold the vowels, move the pitch by up to five semitones (and the formants along), and add vibrato."""
    shift = 2.0 ** (rng.uniform(-3.0, 5.0) / 12.0)
    lengths = [
        (phone.end_s - phone.start_s) * rng.uniform(*(_VOWELS_LONGER if is_vowel(phone.name) else _OTHERS_LONGER))
        for phone in phones
    ]
    before_s = np.array([phones[0].start_s, *(phone.end_s for phone in phones)])
    after_s = phones[0].start_s + np.concatenate([[0.0], np.cumsum(lengths)])
    held = stretch(samples, before_s, after_s * shift)
    audio, ratio = augment.resample(held, 1.0 / shift)
    scale = shift * ratio
    timed = [
        Phone(phone.name, start_s * scale, end_s * scale)
        for phone, start_s, end_s in zip(phones, after_s[:-1].tolist(), after_s[1:].tolist(), strict=True)
    ]
    return _with_vibrato(audio, rng), timed


def shout(samples: FloatArray, rng: Rng) -> FloatArray:
    """Lift the upper harmonics and overdrive the microphone; same length."""
    spectrum = np.fft.rfft(samples)
    octave = np.log2(np.maximum(np.arange(len(spectrum)) * SAMPLE_RATE_HZ / len(samples), 100.0) / 500.0)
    gain_db = rng.uniform(3.0, 7.0) * np.clip(octave, 0.0, 2.5)
    bright = np.fft.irfft(spectrum * 10.0 ** (gain_db / 20.0), len(samples)).astype(np.float32)
    drive = rng.uniform(3.0, 12.0) / max(augment.rms(bright) * 4.0, 1e-6)
    return np.clip(np.tanh(bright * drive) * rng.uniform(0.7, 1.4), -0.7, 0.7).astype(np.float32)


def stretch(samples: FloatArray, before_s: NDArray[np.float64], after_s: NDArray[np.float64]) -> FloatArray:
    """Another tempo at the same pitch (WSOLA): what was at ``before_s`` comes at ``after_s``, both ascending."""
    length = int(after_s[-1] * SAMPLE_RATE_HZ)
    margin = _WINDOW + _SEARCH
    padded = np.concatenate([np.zeros(margin, np.float32), samples, np.zeros(2 * margin, np.float32)])
    window = np.hanning(_WINDOW + 1)[:-1].astype(np.float32)
    out = np.zeros(length + 2 * _WINDOW, np.float32)
    wanted = np.interp(np.arange(0, length, _HOP) / SAMPLE_RATE_HZ, after_s, before_s) * SAMPLE_RATE_HZ
    last = margin
    for index, place in enumerate(wanted.astype(int).tolist()):
        first = min(max(place + margin, _SEARCH), len(padded) - _WINDOW - _SEARCH)
        natural = padded[min(last + _HOP, len(padded) - _WINDOW) :][:_WINDOW]
        likeness = np.correlate(padded[first - _SEARCH : first + _SEARCH + _WINDOW], natural)
        last = first - _SEARCH + int(np.argmax(likeness))
        out[index * _HOP : index * _HOP + _WINDOW] += padded[last : last + _WINDOW] * window
    return out[:length]


def _with_vibrato(samples: FloatArray, rng: Rng) -> FloatArray:
    rate_hz = rng.uniform(*_VIBRATO_HZ)
    depth_s = rng.uniform(*_VIBRATO_DEPTH) / (2.0 * np.pi * rate_hz)
    time = np.arange(len(samples), dtype=np.float64)
    moved = time + depth_s * SAMPLE_RATE_HZ * np.sin(2.0 * np.pi * rate_hz * time / SAMPLE_RATE_HZ)
    return np.interp(moved, time, samples).astype(np.float32)
