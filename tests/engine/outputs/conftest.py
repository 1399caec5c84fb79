from __future__ import annotations

import subprocess

import pytest


@pytest.fixture(scope="session")
def live_stream(ffmpeg: str) -> bytes:
    """12 s of a fragmented MP4 as the live encoder writes it: 25 fps, 64×64, a keyframe a second, mono."""
    inputs = ["-f", "lavfi", "-i", "testsrc=s=64x64:r=25:d=12", "-f", "lavfi", "-i", "sine=d=12:r=48000"]
    video = ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "25", "-pix_fmt", "yuv420p"]
    flags = ["-frag_duration", "20000", "-movflags", "frag_keyframe+empty_moov+default_base_moof"]
    command = [ffmpeg, "-v", "error", *inputs, *video, "-c:a", "aac", *flags, "-f", "mp4", "pipe:1"]
    return subprocess.run(command, capture_output=True, check=True).stdout
