"""The two rates of audio, where frames stand in it, and cutting it.

The decoder is started before anything heavy is loaded and reads this module, so numpy is imported late here.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MODEL_RATE_HZ = 16_000  # mono, as the models were trained
AUDIO_RATE_HZ = 48_000  # mono or stereo, as it is read and encoded
# ffmpeg's AAC encoder by default searches twice for what can be heard; the fast search leaves less noise on speech, in
# half the time (docs/performance.md).
AAC_CODER = "fast"


class LowPass(NamedTuple):
    """The filter in front of the decimation from 48 to 16 kHz, a windowed sinc (Kaiser).

    ``half_taps``: half its length in 48 kHz samples, which is also its delay. ``cutoff_hz``: where it halves the
    amplitude. ``beta``: of the window.
    """

    half_taps: int
    cutoff_hz: float
    beta: float


# 1 ms of delay, and 70 dB below the pass band at 9 kHz, where aliased speech could first change what a model takes it
# for; above 6.2 kHz it attenuates.
SHORT_LOW_PASS = LowPass(48, 7_300, 7.0)
# 6 ms: soxr's HQ filter, with which Whisper's audio is usually resampled, to 1.5e-5 of its largest tap. It passes all
# up to 7.4 kHz and is 130 dB down at 8 kHz, so the uppermost mel bands have what they should.
LONG_LOW_PASS = LowPass(285, 7_655, 12.55)


def frame_at(time_s: Fraction, frame_rate: Fraction) -> int:
    """Number of frames in ``time_s`` seconds, to the nearest, halves up."""
    return int(time_s * frame_rate + Fraction(1, 2))


def audio_at(frame: int, frame_rate: Fraction) -> int:
    """Index of the 48 kHz sample with which a frame begins."""
    return int(frame / frame_rate * AUDIO_RATE_HZ)


def cut_padded(samples: NDArray[np.float32], begin: int, length: int) -> NDArray[np.float32]:
    """``samples[begin : begin + length]``, float32 (length,), with zeros where that reaches beyond ``samples``."""
    import numpy as np

    out = np.zeros(length, np.float32)
    low, high = max(begin, 0), min(begin + length, len(samples))
    if high > low:
        out[low - begin : high - begin] = samples[low:high]
    return out
