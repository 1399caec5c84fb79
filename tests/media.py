"""Looking into a finished video with ffmpeg alone, since ffprobe is not everywhere."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np


def read_pictures(ffmpeg: str, video: Path | bytes, width: int, height: int) -> np.ndarray:
    """All pictures as I420, uint8 (n, height · 3/2, width), without duplicating or dropping any."""
    raw = _decode(ffmpeg, video, ["-map", "0:v", "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "yuv420p"])
    return np.frombuffer(raw, np.uint8).reshape(-1, height * 3 // 2, width)


def read_sound(ffmpeg: str, video: Path | bytes, num_channels: int = 1) -> np.ndarray:
    """The sound as int16 (n, channels) at 48 kHz."""
    raw = _decode(ffmpeg, video, ["-map", "0:a", "-f", "s16le", "-ac", str(num_channels), "-ar", "48000"])
    return np.frombuffer(raw, "<i2").reshape(-1, num_channels)


def describe(ffmpeg: str, video: Path) -> str:
    """What ffmpeg says of a file's streams."""
    return subprocess.run(
        [ffmpeg, "-hide_banner", "-i", str(video)], capture_output=True, text=True, check=False
    ).stderr


def packet_times(ffmpeg: str, video: Path, stream: str) -> list[float]:
    """Presentation times in seconds of a stream's packets (``v`` or ``a``)."""
    command = [
        ffmpeg,
        "-v",
        "error",
        "-i",
        str(video),
        "-map",
        f"0:{stream}",
        "-c",
        "copy",
        "-copyts",
        "-f",
        "framecrc",
        "-",
    ]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    base = re.search(r"#tb 0: (\d+)/(\d+)", text)
    assert base
    rows = [line.split(",") for line in text.splitlines() if line and not line.startswith("#")]
    return [int(row[2]) * int(base[1]) / int(base[2]) for row in rows]


def _decode(ffmpeg: str, video: Path | bytes, options: list[str]) -> bytes:
    source = "pipe:0" if isinstance(video, bytes) else str(video)
    command = [ffmpeg, "-v", "warning", "-xerror", "-i", source, *options, "pipe:1"]
    done = subprocess.run(command, input=video if isinstance(video, bytes) else b"", capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert not done.stderr, f"decoded with warnings: {done.stderr.decode()}"
    return done.stdout


def peak_memory_bytes() -> int:
    """The most memory that this process has held. (On Linux, ``ru_maxrss`` would begin with what its parent held.)"""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
