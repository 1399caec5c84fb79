"""Audio → Whisper's log-mel spectrogram, as in openai-whisper and transformers' WhisperFeatureExtractor."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from musetalk_cli.engine.types.messages import MODEL_RATE_HZ

FFT_SIZE = 400
HOP_LENGTH = 160  # samples
SAMPLES_PER_STEP = 2 * HOP_LENGTH  # Whisper's second convolution has stride 2: 20 ms
MIN_POWER = 1e-10
RANGE_DECADES = 8.0  # below the maximum, where values are clamped

# Slaney's mel scale (Auditory Toolbox, 1998): linear to 1 kHz, logarithmic above.
_HZ_PER_MEL = 200.0 / 3.0
_BREAK_HZ = 1000.0
_LOG_STEP = np.log(6.4) / 27.0


def mel_filters(num_mels: int) -> Tensor:
    """Triangular filters of equal area between 0 Hz and half the sampling rate: float32 (num_mels, 201)."""
    top_mel = _BREAK_HZ / _HZ_PER_MEL + np.log(MODEL_RATE_HZ / 2 / _BREAK_HZ) / _LOG_STEP
    mels = np.linspace(0.0, top_mel, num_mels + 2)
    above = mels - _BREAK_HZ / _HZ_PER_MEL
    corners_hz = np.where(above < 0, mels * _HZ_PER_MEL, _BREAK_HZ * np.exp(above * _LOG_STEP))
    bins_hz = np.linspace(0.0, MODEL_RATE_HZ / 2, FFT_SIZE // 2 + 1)
    widths = np.diff(corners_hz)[:, None]
    rising = (bins_hz - corners_hz[:-2, None]) / widths[:-1]
    falling = (corners_hz[2:, None] - bins_hz) / widths[1:]
    triangles = np.maximum(0.0, np.minimum(rising, falling)) * 2.0 / (corners_hz[2:] - corners_hz[:-2])[:, None]
    return torch.from_numpy(triangles.astype(np.float32))


def log_mel(samples: Tensor, filters: Tensor) -> Tensor:
    """``samples`` float32 (n,), 16 kHz, more than 200 → (num_mels, n // 160), about −1 … 1.5.

    Power spectrum with a periodic Hann window, frames centred on every 160th sample, reflection padding; logarithm to
    base 10, clamped to 8 decades below the maximum of the whole spectrogram, (x + 4) / 4.
    """
    window = torch.hann_window(FFT_SIZE, device=samples.device)
    spectrum = torch.stft(samples, FFT_SIZE, HOP_LENGTH, window=window, return_complex=True)
    power = spectrum[:, : len(samples) // HOP_LENGTH].abs().square()
    logs = (filters @ power).clamp_(min=MIN_POWER).log10_()
    return torch.maximum(logs, logs.max() - RANGE_DECADES).add_(4.0).div_(4.0)
