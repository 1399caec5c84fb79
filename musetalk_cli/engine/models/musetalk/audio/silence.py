"""Which frames speak: an energy gate with hangover. In silence the avatar's own mouth is shown, not the network's.

A frame's weight depends on a fixed context of audio around it and is computed with integers, so it does not depend on
where blocks are cut: a stream has the same weights block by block as in one call, bit for bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.types.audio import cut_padded
from musetalk_cli.engine.types.messages import MODEL_RATE_HZ, FloatArray

HOP_SAMPLES = 160
HOP_S = HOP_SAMPLES / MODEL_RATE_HZ
# A level is the mean of three hops: 30 ms hold a pitch period of any voice.
SMOOTH_HOPS = 3
# The high-pass subtracts the mean over 4 ms, twice: −48 dB at 50 Hz, −24 dB at 100 Hz, speech unchanged. Mains hum and
# rumble then do not open the mouth.
MEAN_SAMPLES = 64
UNIT = 2**20  # the grid that samples are rounded to: sums of integers do not depend on their order
# The noise floor is the minimum, the reference level the maximum of the last 3 s.
MEMORY_HOPS = 300
DIGITAL_SILENCE_DB = -120.0


@dataclass(frozen=True)
class SilenceSettings:
    """When audio counts as speech; levels in dB below a full-scale square wave.

    Speech is above ``threshold_dbfs``, less than ``range_db`` below the maximum of the last 3 s, and more than
    ``noise_margin_db`` above their minimum; but audio that is steadily louder than ``noise_ceiling_dbfs`` is a held
    note, not noise. Bursts shorter than ``shortest_s`` are clicks. Frames speak from ``lead_s`` before speech, as
    mouths open early, until ``hangover_s`` after it; ``fade_s`` is the duration of each cross-fade.
    """

    threshold_dbfs: float = -52.0
    range_db: float = 30.0
    noise_margin_db: float = 8.0
    noise_ceiling_dbfs: float = -42.0
    shortest_s: float = 0.03
    lead_s: float = 0.04
    hangover_s: float = 0.24
    fade_s: float = 0.08


class SilenceGate:
    """Weighs frames between silence (0) and speech (1). It has no state: safe to share between threads.

    ``before_s`` and ``after_s`` are the context around a block that its frames' weights depend on, multiples of 20 ms.
    """

    def __init__(self, settings: SilenceSettings) -> None:
        self._settings = settings
        self._shortest = max(1, round(settings.shortest_s / HOP_S))
        self._fade = max(1, round(settings.fade_s / HOP_S))
        self._lead = round(settings.lead_s / HOP_S)
        self._hangover = round(settings.hangover_s / HOP_S)
        # The hops before and after its own that a weight depends on, summed over the steps of weigh().
        reach_ahead = [SMOOTH_HOPS // 2, self._shortest - 1, self._lead, self._fade // 2]
        reach_back = [SMOOTH_HOPS // 2, MEMORY_HOPS - 1, self._shortest - 1, self._hangover, (self._fade - 1) // 2]
        self._ahead, self._past = sum(reach_ahead), sum(reach_back)
        self.before_s = _up_to_steps(self._past * HOP_S + MEAN_SAMPLES / MODEL_RATE_HZ)
        self.after_s = _up_to_steps(self._ahead * HOP_S + MEAN_SAMPLES / MODEL_RATE_HZ)

    def weigh(self, samples: FloatArray, start_s: float, frame_times_s: NDArray[np.float64]) -> FloatArray:
        """The weight of each frame, float32 (frames,): 0 the avatar's own mouth, 1 the network's, between them a blend.

        ``samples`` float32 (n,) in ±1 at 16 kHz; the first is ``start_s`` (a multiple of 0.02) after the stream's
        start. ``frame_times_s`` (frames,), ascending, are the frames' timestamps. Audio outside ``samples`` counts as
        silence.
        """
        hops = np.floor(np.asarray(frame_times_s) / HOP_S + 1e-6).astype(np.int64)
        if len(hops) == 0:
            return np.zeros(0, np.float32)
        first, num_hops = int(hops[0]), int(hops[-1] - hops[0]) + 1
        levels_db = self._levels_db(samples, round(start_s * MODEL_RATE_HZ), first, num_hops)
        is_speech = _without_bursts(self._is_loud(levels_db), self._shortest)
        weights = _fade(_widen(is_speech, self._hangover, self._lead), self._fade)
        return weights[hops - first]

    def _levels_db(self, samples: FloatArray, first_sample: int, first: int, num_hops: int) -> NDArray[np.float64]:
        """Levels of all hops that the weights of ``num_hops`` from hop ``first`` on depend on."""
        count = self._past + num_hops + self._ahead
        begin = HOP_SAMPLES * (first - self._past) - first_sample - MEAN_SAMPLES
        stretch = cut_padded(samples, begin, HOP_SAMPLES * count + 2 * MEAN_SAMPLES)
        power = np.square(_high_pass(stretch)).reshape(count, HOP_SAMPLES).sum(axis=1) / HOP_SAMPLES
        smooth = np.lib.stride_tricks.sliding_window_view(power, SMOOTH_HOPS).sum(axis=1) / SMOOTH_HOPS
        return np.asarray(10.0 * np.log10(np.maximum(smooth, 10.0 ** (DIGITAL_SILENCE_DB / 10.0))))

    def _is_loud(self, levels_db: NDArray[np.float64]) -> NDArray[np.bool_]:
        """For every hop with ``MEMORY_HOPS`` of past, itself included."""
        settings = self._settings
        memory = np.lib.stride_tricks.sliding_window_view(levels_db, MEMORY_HOPS)
        noise_db = np.minimum(memory.min(axis=1), settings.noise_ceiling_dbfs)
        floor_db = np.maximum(noise_db + settings.noise_margin_db, memory.max(axis=1) - settings.range_db)
        return np.asarray(memory[:, -1] > np.maximum(floor_db, settings.threshold_dbfs))


def count_silent(weights: FloatArray) -> int:
    """How many frames have weight 0 and need no network."""
    return int(np.count_nonzero(weights == 0.0))


def _up_to_steps(time_s: float) -> float:
    """Rounded up to the 20 ms step in which context is measured."""
    return round(math.ceil(time_s / 0.02 - 1e-9) * 0.02, 2)


def _high_pass(samples: FloatArray) -> NDArray[np.float64]:
    """(n,) → (n − 128,), in ±1: each sample minus the mean of those around it, twice."""
    whole = np.rint(samples.astype(np.float64) * UNIT).astype(np.int64)
    for _ in range(2):
        half, length = MEAN_SAMPLES // 2, len(whole) - MEAN_SAMPLES
        total = np.cumsum(whole) - whole  # up to each sample, without it
        sums = total[MEAN_SAMPLES:] - total[:-MEAN_SAMPLES]
        whole = MEAN_SAMPLES * whole[half : half + length] - sums  # the means' division is left to the end
    return whole / float(UNIT * MEAN_SAMPLES**2)


def _without_bursts(is_loud: NDArray[np.bool_], shortest: int) -> NDArray[np.bool_]:
    """(n,) → (n − 2 · (shortest − 1),): true only in runs of at least ``shortest``."""
    runs = np.lib.stride_tricks.sliding_window_view(is_loud, shortest).all(axis=1)
    return np.asarray(np.lib.stride_tricks.sliding_window_view(runs, shortest).any(axis=1))


def _widen(is_speech: NDArray[np.bool_], after: int, ahead: int) -> NDArray[np.bool_]:
    """(n,) → (n − after − ahead,): true from ``ahead`` before to ``after`` behind each true one."""
    return np.asarray(np.lib.stride_tricks.sliding_window_view(is_speech, after + ahead + 1).any(axis=1))


def _fade(is_speaking: NDArray[np.bool_], length: int) -> FloatArray:
    """(n,) → (n − length + 1,): ramps of ``length`` hops, centred on each change."""
    total = np.lib.stride_tricks.sliding_window_view(is_speaking, length).sum(axis=1)
    return np.asarray(total / length, dtype=np.float32)
