"""The voice that is measured with: made in memory, and the same on every machine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.types.messages import AUDIO_RATE_HZ, AudioArray

SYLLABLE_S = (0.16, 0.28)
CONSONANT_SHARE = 0.3  # of a syllable, in front of its vowel
PITCH_HZ = (95.0, 150.0)
NUM_HARMONICS = 28
# First three formants of a few vowels, in Hz, and how wide a resonance is.
VOWELS = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480), (570, 840, 2410))
FORMANT_WIDTH_HZ = 120.0
PEAK = 16_000
MADE_S = 10.0  # longer voices repeat this much


def speech(seconds: float, *, seed: int = 0) -> AudioArray:
    """A voice without a pause, int16 (n, 1) at 48 kHz: syllables of a hiss or a closure and a vowel each, from within
    the first vowel on, so that nothing passes for silence, however short it is.

    No language, but what a model responds to: pitch, formants, and a rhythm of four to six syllables a second.
    """
    rng = np.random.default_rng(seed)
    made_s = min(seconds, MADE_S)
    syllables = [_syllable(rng)]
    opening = len(syllables[0]) // 2
    while sum(map(len, syllables)) - opening < made_s * AUDIO_RATE_HZ:
        syllables.append(_syllable(rng))
    voice = np.concatenate(syllables)[opening:]
    pcm = np.rint(voice / np.abs(voice).max() * PEAK).astype(np.int16)
    return np.resize(pcm[: round(made_s * AUDIO_RATE_HZ)], (round(seconds * AUDIO_RATE_HZ), 1))


def _syllable(rng: np.random.Generator) -> NDArray[np.float64]:
    count = round(rng.uniform(*SYLLABLE_S) * AUDIO_RATE_HZ)
    num_hiss = round(CONSONANT_SHARE * count)
    hiss = np.diff(rng.standard_normal(num_hiss + 1)) * rng.choice([0.0, 0.02, 0.06])
    vowel = _vowel(count - num_hiss, VOWELS[rng.integers(len(VOWELS))], rng.uniform(*PITCH_HZ))
    return np.concatenate([hiss * np.hanning(num_hiss), vowel * np.hanning(count - num_hiss)])


def _vowel(count: int, formants: tuple[int, ...], pitch_hz: float) -> NDArray[np.float64]:
    """A buzz whose harmonics are the louder the nearer they are to a formant; its pitch falls by a tenth."""
    glide_hz = pitch_hz * np.linspace(1.0, 0.9, count)
    phase = 2 * np.pi * np.cumsum(glide_hz) / AUDIO_RATE_HZ
    numbers = np.arange(1, NUM_HARMONICS + 1)
    distances = (numbers[:, None] * pitch_hz - np.array(formants)) / FORMANT_WIDTH_HZ
    levels = (1 / (1 + distances**2)).sum(axis=1) / np.sqrt(numbers)
    return np.asarray(levels @ np.sin(numbers[:, None] * phase))
