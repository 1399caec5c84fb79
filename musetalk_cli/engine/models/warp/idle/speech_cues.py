"""Samples float32 (n,) at 16 kHz and frame times (frames,) → what a voice makes a head do: nods, raised brows, blinks.

A nod goes with what is louder than the speech around it, raised brows with a voice that rises, a blink with the end of
a phrase. All of it follows the voice by some tenths of a second, as people's heads do, and looks 40 ms ahead.
"""

from __future__ import annotations

from random import Random

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.models.warp.face.geometry import FloatArray, smoothstep
from musetalk_cli.engine.models.warp.idle.idle_motion import BLINK_S, closure_since

SAMPLE_RATE_HZ = 16000
STEP_S = 0.02
MEMORY_S = 2.9  # seconds of audio before a frame that its cues depend on
NUM_CUES = 3
_STEP = round(STEP_S * SAMPLE_RATE_HZ)
_LEVELS_DB = (-62.0, -34.0)  # of speech: below the first there is none, above the second it counts in full
_BELOW_PEAK_DB = 26.0  # and what is this far below the loudest step of the last seconds
_AROUND = 50  # steps over which a syllable is compared with others
_STRESS_DB = (1.5, 8.0)
_RISE = (0.12, 0.40)  # of the pitch above that of the last second, share of it
_NOD = np.hanning(29)[1:-1].astype(np.float32)  # a nod's course in steps
_PAUSE_STEPS = 7  # silence that ends a phrase
_PHRASE_STEPS = 15  # speech that makes one
_BLINK_SHARE = 0.6  # phrases whose end is blinked at
_LOW_STEP = 16  # samples of which one of the low band is made


def speech_cues(samples: FloatArray, start_s: float, times_s: NDArray[np.float64], seed: int) -> FloatArray:
    """The cues of every frame, float32 (frames, 3), each 0..1: nod, brows, closure of the lids. Silence gives zeros.

    Args:
        samples: float32 (n,) in ±1. Audio outside them counts as silence.
        start_s: Time in the stream of ``samples[0]``, a multiple of 0.02.
        times_s: Start times of the frames in the stream, (frames,), ascending.
        seed: Chooses the phrases whose end is blinked at.
    """
    if not len(times_s):
        return np.zeros((0, NUM_CUES), np.float32)
    first = int(np.floor((times_s[0] - MEMORY_S) / STEP_S + 1e-6))
    # A frame that begins behind the middle of its step lies between that and the next one.
    last = int(np.floor(times_s[-1] / STEP_S + 1e-6)) + 2
    steps = _cut(samples, round(start_s / STEP_S), first, last)
    level_db = 10 * np.log10((steps**2).mean(axis=1) + 1e-10)
    if level_db.max() < _LEVELS_DB[0]:
        return np.zeros((len(times_s), NUM_CUES), np.float32)
    loudness = smoothstep(level_db, *_LEVELS_DB) * (level_db > _trailing_max(level_db, _AROUND) - _BELOW_PEAK_DB)
    nod = _course(_stress(level_db, loudness))
    brows = _course(_rise(steps, loudness))
    centres_s = (first + np.arange(len(steps)) + 0.5) * STEP_S
    lids = _phrase_blinks(loudness > 0.05, first, times_s, seed)
    cues = [np.interp(times_s, centres_s, row) for row in (nod, brows)]
    return np.stack([*cues, lids], axis=1).astype(np.float32)


def _cut(samples: FloatArray, offset: int, first: int, last: int) -> FloatArray:
    """Steps ``first`` … ``last`` of the stream, (n, 320), of samples that begin with step ``offset``."""
    cut = np.zeros((last - first) * _STEP, np.float32)
    start = (offset - first) * _STEP
    low, high = max(0, start), min(len(cut), start + len(samples))
    if high > low:
        cut[low:high] = samples[low - start : high - start]
    return cut.reshape(-1, _STEP)


def _trailing_max(values: FloatArray, count: int) -> FloatArray:
    padded = np.concatenate([np.full(count - 1, values.min(), values.dtype), values])
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, count).max(axis=1))


def _trailing_mean(values: FloatArray, weights: FloatArray, count: int) -> FloatArray:
    """Mean with weights over each value and those before it."""
    kernel = np.ones(count, np.float32)
    total = np.convolve(values * weights, kernel)[: len(values)]
    return np.asarray(total / np.maximum(np.convolve(weights, kernel)[: len(values)], 1e-3))


def _stress(level_db: FloatArray, loudness: FloatArray) -> FloatArray:
    """How much louder each step is than the speech before it, 0..1."""
    usual = _trailing_mean(level_db, loudness, _AROUND)
    return np.asarray(smoothstep(level_db - usual, *_STRESS_DB) * loudness, np.float32)


def _rise(steps: FloatArray, loudness: FloatArray) -> FloatArray:
    """How far the voice's pitch lies above that of the second before, 0..1.

    The pitch is taken from the zero crossings below some 400 Hz: coarse, and cheap.
    """
    low = steps.reshape(-1, _LOW_STEP).mean(axis=1)
    low = np.convolve(low, np.full(3, 1 / 3, np.float32))[: len(low)]
    crossings = np.abs(np.diff(np.signbit(low).astype(np.int8), prepend=0)).reshape(len(steps), -1).sum(axis=1)
    pitch = np.convolve(crossings.astype(np.float32), np.ones(5, np.float32))[: len(steps)]
    usual = _trailing_mean(pitch, loudness, _AROUND)
    return np.asarray(smoothstep(pitch / np.maximum(usual, 1) - 1, *_RISE) * loudness, np.float32)


def _course(events: FloatArray) -> FloatArray:
    """A smooth motion from what is measured in steps, 0..1; it comes after what causes it."""
    share = np.convolve(events, _NOD / _NOD.sum())[: len(events)]
    return np.asarray(np.minimum(1.5 * share, 1.0), np.float32)


def _phrase_blinks(is_speech: NDArray[np.bool_], first: int, times_s: NDArray[np.float64], seed: int) -> FloatArray:
    """Closure of the lids at each frame, from blinks at the ends of phrases."""
    closure = np.zeros(len(times_s), np.float32)
    need = _PHRASE_STEPS + _PAUSE_STEPS
    for place in range(need, len(is_speech)):
        is_end = not is_speech[place - _PAUSE_STEPS : place].any() and is_speech[place - _PAUSE_STEPS - 1]
        if not is_end or is_speech[place - need : place - _PAUSE_STEPS].mean() < 0.6:
            continue
        step = first + place
        if Random(f"phrase {seed} {step}").random() < _BLINK_SHARE:
            since_s = times_s - step * STEP_S
            near = np.flatnonzero((since_s > 0) & (since_s < BLINK_S))
            closure[near] = [closure_since(float(since_s[k]), 1.0) for k in near]
    return closure
