"""The speech that streams are measured with."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np

from fixtures.programs import find_ffmpeg

RATE_HZ = 48_000


def decode(path: Path, seconds: float | None = None) -> np.ndarray:
    """``seconds`` of a recording, repeated where it is shorter, or all of it: int16 (n,), 48 kHz mono."""
    command = [find_ffmpeg(), "-v", "error", "-i", str(path), "-f", "s16le", "-ac", "1", "-ar", str(RATE_HZ), "pipe:1"]
    audio = np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, "<i2")
    return audio if seconds is None else np.resize(audio, int(seconds * RATE_HZ))
