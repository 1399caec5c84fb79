"""Samples float32 (n,) at 16 kHz → log-mel features float32 (steps, 80), 50 steps a second: the mouth net's input.

Levels are relative to the speaker's own recent level. A feature depends on a finite range of samples and on its
position in the stream, never on where a block begins: features of blocks equal features of the whole stream.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.types.audio import cut_padded

FloatArray = NDArray[np.float32]

SAMPLE_RATE_HZ = 16_000
STEP_S = 0.02
HOPS_PER_STEP = 2
HOP_SAMPLES = 160
WINDOW_SAMPLES = 400
FFT_SAMPLES = 512
NUM_BANDS = 40
LOWEST_HZ, HIGHEST_HZ = 60.0, 7600.0

# The reference level is that of the loudest 100 ms in the last 2.5 s. This is long enough to bridge a pause for breath
# and short enough to follow a speaker who turns away. It never falls below FLOOR_DBFS, so hiss does not become speech.
REFERENCE_HOPS = 250
SMOOTH_HOPS = 10
FLOOR_DBFS = -62.0
RANGE_DB = 60.0

NUM_FEATURES = HOPS_PER_STEP * NUM_BANDS
REACH_BACK_STEPS = (REFERENCE_HOPS + SMOOTH_HOPS) // HOPS_PER_STEP + 1
REACH_AHEAD_S = (WINDOW_SAMPLES - HOP_SAMPLES) / 2 / SAMPLE_RATE_HZ


class StepFeatures(NamedTuple):
    """Features of consecutive 20 ms steps.

    ``bands`` float32 (n, 80): two hops of 40 log-mel bands, 0 at 60 dB below the reference level, about 1 at it.
    ``level_db`` float32 (n,): level of the step's loudest hop relative to the reference level (at most about 0).
    ``power_dbfs`` float32 (n,): the same hop's level relative to a full-scale square wave.
    """

    bands: FloatArray
    level_db: FloatArray
    power_dbfs: FloatArray


def extract_features(samples: FloatArray, first_sample: int, first_step: int, num_steps: int) -> StepFeatures:
    """Features of steps ``first_step`` … ``first_step + num_steps - 1`` of the stream.

    Args:
        samples: float32 (n,) in ±1 at 16 kHz; samples of the stream outside this range count as silence.
        first_sample: Index in the stream of ``samples[0]``.
        first_step: Index in the stream of the first step; step k covers the seconds 0.02 k … 0.02 (k + 1).
        num_steps: Number of steps.
    """
    lead_in = REFERENCE_HOPS + SMOOTH_HOPS
    first_hop = HOPS_PER_STEP * first_step - lead_in
    power = _band_power(samples, first_sample, first_hop, HOPS_PER_STEP * num_steps + lead_in)
    hop_db = 10.0 * np.log10(power.sum(axis=1) + 1e-10)
    reference_db = _reference_db(power.sum(axis=1))[-HOPS_PER_STEP * num_steps :]
    hop_db = hop_db[lead_in:]
    bands_db = 10.0 * np.log10(power[lead_in:] + 1e-13) - reference_db[:, None]
    bands = np.maximum(bands_db / RANGE_DB + 1.0, 0.0).astype(np.float32)
    level_db = (hop_db - reference_db).reshape(num_steps, HOPS_PER_STEP).max(axis=1)
    power_dbfs = hop_db.reshape(num_steps, HOPS_PER_STEP).max(axis=1)
    return StepFeatures(
        bands.reshape(num_steps, NUM_FEATURES), level_db.astype(np.float32), power_dbfs.astype(np.float32)
    )


def _reference_db(hop_power: FloatArray) -> FloatArray:
    """Reference level per hop, dBFS: the loudest smoothed level up to it, for hops with a full history."""
    smooth = np.lib.stride_tricks.sliding_window_view(hop_power, SMOOTH_HOPS).mean(axis=1)
    loudest = np.lib.stride_tricks.sliding_window_view(smooth, REFERENCE_HOPS).max(axis=1)
    floor = np.float32(10.0 ** (FLOOR_DBFS / 10.0))
    return np.asarray(10.0 * np.log10(np.maximum(loudest, floor)), dtype=np.float32)


def _band_power(samples: FloatArray, first_sample: int, first_hop: int, num_hops: int) -> FloatArray:
    """Mean power per mel band, float32 (num_hops, 40); hop h is centred on sample 160 h + 80 of the stream."""
    begin = HOP_SAMPLES * first_hop - (WINDOW_SAMPLES - HOP_SAMPLES) // 2 - first_sample
    stretch = cut_padded(samples, begin, HOP_SAMPLES * (num_hops - 1) + WINDOW_SAMPLES)
    windows = np.lib.stride_tricks.sliding_window_view(stretch, WINDOW_SAMPLES)[::HOP_SAMPLES]
    spectrum = np.fft.rfft(windows * _window(), FFT_SAMPLES, axis=1)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    return np.asarray(power.astype(np.float32) @ _mel_filter_bank(), dtype=np.float32)


@lru_cache(maxsize=1)
def _window() -> FloatArray:
    """A Hann window scaled so that the one-sided power spectrum sums to the mean square of the audio."""
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * (np.arange(WINDOW_SAMPLES) + 0.5) / WINDOW_SAMPLES)
    scale = np.sqrt(2.0 / (FFT_SAMPLES * np.square(window).sum()))
    return np.asarray(window * scale, dtype=np.float32)


@lru_cache(maxsize=1)
def _mel_filter_bank() -> FloatArray:
    """Triangular mel filters, float32 (257, 40), equally spaced on the mel scale 2595 log10(1 + f / 700)."""
    lowest, highest = (2595.0 * np.log10(1.0 + hz / 700.0) for hz in (LOWEST_HZ, HIGHEST_HZ))
    edges_hz = 700.0 * (10.0 ** (np.linspace(lowest, highest, NUM_BANDS + 2) / 2595.0) - 1.0)
    bins_hz = np.arange(FFT_SAMPLES // 2 + 1) * SAMPLE_RATE_HZ / FFT_SAMPLES
    rising = (bins_hz[:, None] - edges_hz[None, :-2]) / (edges_hz[1:-1] - edges_hz[:-2])
    falling = (edges_hz[None, 2:] - bins_hz[:, None]) / (edges_hz[2:] - edges_hz[1:-1])
    return np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)
