"""48 kHz audio → the 16 kHz mono that a model gets, as it arrives or from a voice that is known beforehand."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from musetalk_cli.engine.audio.downmix import Downmix
from musetalk_cli.engine.types.audio import SHORT_LOW_PASS
from musetalk_cli.engine.types.messages import (
    AUDIO_RATE_HZ,
    MODEL_RATE_HZ,
    AudioArray,
    FloatArray,
    LowPass,
    WholeVoice,
)

DECIMATION = AUDIO_RATE_HZ // MODEL_RATE_HZ
# Short filters are summed tap by tap over whole slices, long ones output by output, which is then ten times as fast.
MAX_SLICED_TAPS = 128


class MonoStream(Protocol):
    """Makes a stream's 16 kHz samples."""

    num_delay: int  # 48 kHz samples that must be there behind an output's place

    def push(self, audio: AudioArray) -> FloatArray:
        """The samples, float32 (m,), that belong to more audio, int16 (n, channels) at 48 kHz."""

    def finish(self) -> FloatArray:
        """The rest."""


class Decimator:
    """48 kHz int16 (n, channels) → 16 kHz float32 mono in ±1; the result does not depend on how the input is cut.

    A linear-phase windowed-sinc low-pass (Kaiser), evaluated only at every third sample, with no delay in the result:
    output m stands at input 3 m.
    """

    def __init__(self, low_pass: LowPass = SHORT_LOW_PASS) -> None:
        half = low_pass.half_taps
        taps = np.arange(-half, half + 1)
        kernel = np.sinc(2 * low_pass.cutoff_hz / AUDIO_RATE_HZ * taps) * np.kaiser(len(taps), low_pass.beta)
        self._kernel = (kernel / kernel.sum()).astype(np.float32)
        self._waiting = np.zeros(half, dtype=np.float32)
        self._downmix = Downmix()
        self._num_in = 0
        self._num_out = 0
        self.num_delay = half

    def push(self, audio: AudioArray) -> FloatArray:
        """The samples that can be made so far."""
        self._num_in += len(audio)
        mono = self._downmix.push(audio) / np.float32(32768.0)
        return self._filter(np.concatenate([self._waiting, mono]))

    def finish(self) -> FloatArray:
        """The rest, as if silence followed."""
        total = -(-self._num_in // DECIMATION)
        missing = total - self._num_out
        return self._filter(np.concatenate([self._waiting, np.zeros(2 * self.num_delay, np.float32)]))[:missing]

    def _filter(self, padded: FloatArray) -> FloatArray:
        num_out = max(0, (len(padded) - 2 * self.num_delay - 1) // DECIMATION + 1)
        out = self._sum(padded, num_out) if num_out else np.zeros(0, np.float32)
        self._waiting = padded[DECIMATION * num_out :]
        self._num_out += num_out
        return out

    def _sum(self, padded: FloatArray, num_out: int) -> FloatArray:
        """The order of the additions, and so the result to the last bit, is the same for every cut. A matrix product
        would sum differently for different lengths."""
        if len(self._kernel) > MAX_SLICED_TAPS:
            windows = np.lib.stride_tricks.sliding_window_view(padded, len(self._kernel))[::DECIMATION]
            return np.asarray(np.einsum("nt,t->n", windows[:num_out], self._kernel), np.float32)
        out = np.zeros(num_out, dtype=np.float32)
        phases = [np.ascontiguousarray(padded[phase::DECIMATION]) for phase in range(DECIMATION)]
        for tap, weight in enumerate(self._kernel):
            first, phase = divmod(tap, DECIMATION)
            out += weight * phases[phase][first : first + num_out]
        return out


class WholeStream:
    """The samples of a voice that is known to its end, in step with its 48 kHz audio."""

    num_delay = 0

    def __init__(self, voice: WholeVoice) -> None:
        self._samples = voice.samples
        self._num_in = 0
        self._num_out = 0

    def push(self, audio: AudioArray) -> FloatArray:
        """As many samples as the audio so far has thirds."""
        self._num_in += len(audio)
        start, self._num_out = self._num_out, min(self._num_in // DECIMATION, len(self._samples))
        return self._samples[start : self._num_out]

    def finish(self) -> FloatArray:
        """The rest."""
        return self._samples[self._num_out :]
