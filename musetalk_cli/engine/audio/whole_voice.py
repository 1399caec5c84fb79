"""A file's samples as librosa loads them, with which the official script begins."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np

from musetalk_cli.engine.audio.decoder import build_whole_args
from musetalk_cli.engine.runtime.ffmpeg import run_ffmpeg
from musetalk_cli.engine.types.messages import MODEL_RATE_HZ, FloatArray
from musetalk_cli.errors import SourceError
from musetalk_cli.installation import install_command


def load_as_librosa(path: Path, ffmpeg: str) -> FloatArray:
    """A file's samples, float32 (n,), 16 kHz mono, as ``librosa.load(path, sr=16000)`` returns them.

    The mean of all channels, then soxr's HQ filter from the file's own sampling rate, and n = ⌈samples · 16000 / rate⌉.
    Lossless files have the same samples to the last bit; of others the decoder is another one, ffmpeg's.

    Raises:
        SourceError: the file cannot be decoded, or soxr is missing and the rate is not 16 kHz.
    """
    data = run_ffmpeg(build_whole_args(ffmpeg, str(path))).stdout
    header = _read_header(data)
    if header is None:
        raise SourceError(f"{path} cannot be decoded as audio")
    num_channels, rate_hz, start = header
    end = start + (len(data) - start) // (4 * num_channels) * 4 * num_channels
    channels = np.frombuffer(data[start:end], "<f4").reshape(-1, num_channels)
    return resample_as_librosa(np.asarray(channels.T.mean(axis=0), np.float32), rate_hz)


def resample_as_librosa(mono: FloatArray, rate_hz: int) -> FloatArray:
    """float32 (m,) at any rate → (n,) at 16 kHz by ``librosa.resample``'s default. Raises SourceError without soxr."""
    if rate_hz == MODEL_RATE_HZ:
        return mono
    try:
        import soxr
    except ImportError:
        raise SourceError(
            f"resampling {rate_hz} Hz as the official script does needs soxr", hint=install_command("neural")
        ) from None
    wanted = math.ceil(len(mono) * (float(MODEL_RATE_HZ) / rate_hz))
    samples = np.zeros(wanted, np.float32)
    made = soxr.resample(mono, rate_hz, MODEL_RATE_HZ, quality="soxr_hq")[:wanted]
    samples[: len(made)] = made
    return samples


def _read_header(data: bytes) -> tuple[int, int, int] | None:
    """Channels, sampling rate and where the samples begin in ffmpeg's WAV; None where there is none."""
    at = 12
    found: tuple[int, int] | None = None
    while data[:4] == b"RIFF" and at + 8 <= len(data):
        name, size = data[at : at + 4], struct.unpack_from("<I", data, at + 4)[0]
        if name == b"fmt ":
            found = struct.unpack_from("<HI", data, at + 10)
        if name == b"data":
            return None if found is None else (*found, at + 8)
        at += 8 + size + size % 2
    return None
