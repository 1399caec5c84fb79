"""Samples as a program has them → 48 kHz int16 with a fixed number of channels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.audio.downmix import Downmix
from musetalk_cli.engine.audio.resampling import ZERO_CROSSINGS, Resampler
from musetalk_cli.engine.types.messages import AUDIO_RATE_HZ, AudioArray, FloatArray
from musetalk_cli.errors import SessionError, SourceError

LEAST_RATE_HZ, MOST_RATE_HZ = 4_000, 384_000
MAX_CHANNELS = 2
PIECE_S = 1.0  # converted at once, so that an hour costs no more memory than it has samples


class VoiceInput:
    """Converts one utterance after the other; a rate may change at any time. For one thread at a time."""

    def __init__(self, num_channels: int) -> None:
        self._num_channels = num_channels
        self._rate_hz = AUDIO_RATE_HZ
        self._downmix = Downmix()
        self._resampler: Resampler | None = None

    def convert(self, samples: NDArray[Any], rate_hz: int) -> Iterator[AudioArray]:
        """Yield samples at 48 kHz, int16 (n, channels), in pieces of some length.

        Args:
            samples: int16, or float32 in ±1, of shape (n,) or (n, channels) with one or two channels.
            rate_hz: their rate, 4 to 384 kHz.

        Raises:
            SessionError: before anything is converted, for whatever is no audio.
        """
        audio = check_samples(samples, rate_hz)
        return self._convert(audio, rate_hz)

    def finish(self) -> AudioArray:
        """The end of an utterance: what its resampling still holds back."""
        resampler, self._resampler = self._resampler, None
        if resampler is None:
            return np.zeros((0, self._num_channels), np.int16)
        num_held = int(np.ceil(ZERO_CROSSINGS * max(1.0, self._rate_hz / AUDIO_RATE_HZ)))
        return resampler.push(np.zeros((num_held, self._num_channels), np.float32))

    def _convert(self, audio: NDArray[Any], rate_hz: int) -> Iterator[AudioArray]:
        if rate_hz != self._rate_hz:
            yield self.finish()
            self._rate_hz, self._downmix = rate_hz, Downmix(rate_hz)
        if self._resampler is None and rate_hz != AUDIO_RATE_HZ:
            self._resampler = Resampler(rate_hz, self._num_channels)
        step = max(1, round(PIECE_S * rate_hz))
        for start in range(0, len(audio), step):
            piece = self._spread(audio[start : start + step])
            if self._resampler is not None:
                yield self._resampler.push(_to_float(piece))
            else:
                yield _to_int16(piece)

    def _spread(self, audio: NDArray[Any]) -> NDArray[Any]:
        """Mono as often as it is wanted, or stereo as one channel."""
        if audio.shape[1] == self._num_channels:
            return audio
        if self._num_channels > 1:
            return np.repeat(audio, self._num_channels, axis=1)
        return np.asarray(self._downmix.push(audio)[:, None], audio.dtype)


def check_samples(samples: NDArray[Any], rate_hz: int) -> NDArray[Any]:
    """``samples`` as (n, channels). Raises SessionError for whatever is no audio."""
    if not isinstance(samples, np.ndarray):
        raise SessionError(
            f"samples must be a numpy array, not {type(samples).__name__}", hint="np.frombuffer(data, '<i2')"
        )
    if samples.dtype not in (np.int16, np.float32):
        raise SessionError(f"samples must be int16 or float32, not {samples.dtype}", hint="convert with astype")
    if samples.ndim not in (1, 2) or (samples.ndim == 2 and not 1 <= samples.shape[1] <= MAX_CHANNELS):
        raise SessionError(f"samples must be (n,), (n, 1) or (n, 2), not {samples.shape}")
    if (
        isinstance(rate_hz, bool)
        or not isinstance(rate_hz, (int, np.integer))
        or not LEAST_RATE_HZ <= rate_hz <= MOST_RATE_HZ
    ):
        raise SessionError(f"the rate must be a whole number, {LEAST_RATE_HZ} to {MOST_RATE_HZ} Hz, not {rate_hz}")
    if samples.dtype == np.float32 and not np.isfinite(samples).all():
        raise SessionError("samples must be finite, but some are NaN or infinite")
    return samples[:, None] if samples.ndim == 1 else samples


def _to_float(audio: NDArray[Any]) -> FloatArray:
    return audio.astype(np.float32) / 32768.0 if audio.dtype == np.int16 else np.asarray(audio, np.float32)


def _to_int16(audio: NDArray[Any]) -> AudioArray:
    if audio.dtype == np.int16:
        return np.array(audio)
    return np.asarray(np.clip(np.rint(audio * 32768.0), -32768, 32767), np.int16)


class ArraySource:
    """An AudioSource that says samples from memory; ``samples`` and ``rate_hz`` as VoiceInput takes them.

    Raises SessionError for whatever is no audio.
    """

    def __init__(self, samples: NDArray[Any], rate_hz: int) -> None:
        audio = check_samples(samples, rate_hz)
        self.num_channels = audio.shape[1]
        self.duration_s: float | None = len(audio) / rate_hz
        self._pieces = self._convert(VoiceInput(self.num_channels), audio, rate_hz)
        self._is_stopped = False

    def open(self) -> None:
        if not self.duration_s:
            raise SourceError("the samples hold no audio")

    def read(self) -> AudioArray | None:
        return None if self._is_stopped else next(self._pieces, None)

    def stop(self) -> None:
        self._is_stopped = True

    def close(self) -> None:
        self.stop()

    @staticmethod
    def _convert(converter: VoiceInput, audio: NDArray[Any], rate_hz: int) -> Iterator[AudioArray]:
        yield from converter.convert(audio, rate_hz)
        yield converter.finish()
