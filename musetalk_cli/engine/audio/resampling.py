"""Any sampling rate → 48 kHz, piece by piece, as audio arrives."""

from __future__ import annotations

from math import gcd

import numpy as np

from musetalk_cli.engine.types.messages import AUDIO_RATE_HZ, AudioArray, FloatArray

ZERO_CROSSINGS = 24  # of the sinc on each side: 1.5 ms of delay at 16 kHz, and images 80 dB down
KAISER_BETA = 8.0
# Outputs stand at this many places between two inputs at most, which bounds the memory for any rate. One that has more
# (44099 Hz has 48000, 44100 Hz 160) gets the nearest place before: noise 87 dB below the audio, measured.
MAX_PHASES = 4096
CHUNK_SAMPLES = 4800  # of 48 kHz, made at once: each needs a copy of all inputs below its filter
PASS_SHARE = 0.93  # of the lower Nyquist frequency; the rest is the filter's slope


class Resampler:
    """float32 (n, channels) in ±1 at ``rate_hz`` → int16 (m, channels) at 48 kHz.

    A windowed sinc (Kaiser), evaluated at every output's exact place between two inputs: output m stands at input
    m · rate / 48000. The result does not depend on how the input is cut, and begins without a delay.
    """

    def __init__(self, rate_hz: int, num_channels: int) -> None:
        shared = gcd(rate_hz, AUDIO_RATE_HZ)
        self._up, self._down = AUDIO_RATE_HZ // shared, rate_hz // shared
        stretch = max(1.0, rate_hz / AUDIO_RATE_HZ)
        self._half = int(np.ceil(ZERO_CROSSINGS * stretch))
        self._num_phases = min(self._up, MAX_PHASES)
        self._table = _phases(self._num_phases, self._half, PASS_SHARE / stretch)
        self._waiting = np.zeros((self._half - 1, num_channels), dtype=np.float32)
        self._begins_at = 1 - self._half  # index in the input of the first waiting sample
        self._num_out = 0

    def push(self, audio: FloatArray) -> AudioArray:
        """The samples that can be made so far."""
        if self._up == self._down:
            return _to_int16(audio)
        waiting = np.concatenate([self._waiting, audio])
        # The last output that has ``half`` inputs behind its place.
        end = self._begins_at + len(waiting) - self._half
        numbers = np.arange(self._num_out, max(self._num_out, -(-end * self._up // self._down)))
        places, phases = np.divmod(numbers * self._down, self._up)
        first = places - (self._half - 1) - self._begins_at
        rows = phases * self._num_phases // self._up
        out = np.empty((len(numbers), waiting.shape[1]), dtype=np.float32)
        for start in range(0, len(numbers), CHUNK_SAMPLES):
            part = slice(start, start + CHUNK_SAMPLES)
            windows = np.lib.stride_tricks.sliding_window_view(waiting, 2 * self._half, axis=0)
            np.einsum("nct,nt->nc", windows[first[part]], self._table[rows[part]], out=out[part])
        self._num_out += len(numbers)
        next_place = self._num_out * self._down // self._up - (self._half - 1)
        self._waiting = waiting[next_place - self._begins_at :]
        self._begins_at = next_place
        return _to_int16(out)


def _phases(num_phases: int, half: int, cutoff: float) -> FloatArray:
    """Taps (phases, 2 · half) for an output that lies phase / num_phases behind an input; each phase sums to one."""
    offsets = np.arange(1 - half, half + 1)[None] - np.arange(num_phases)[:, None] / num_phases
    window = np.i0(KAISER_BETA * np.sqrt(np.clip(1 - (offsets / half) ** 2, 0, 1))) / np.i0(KAISER_BETA)
    taps = np.sinc(cutoff * offsets) * window
    return np.asarray(taps / taps.sum(axis=1, keepdims=True), dtype=np.float32)


def _to_int16(audio: FloatArray) -> AudioArray:
    return np.asarray(np.clip(np.rint(audio * 32768.0), -32768, 32767), dtype=np.int16)
