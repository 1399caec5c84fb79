"""Files hold the colours of the frames that went in, whichever ffmpeg encodes them."""

from __future__ import annotations

import re
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from fixtures.programs import find_ffmpeg
from musetalk_cli.engine.types.messages import ByteArray
from musetalk_cli.engine.video.encoder import EncoderSettings, build_ffmpeg_args
from musetalk_cli.engine.video.whole_file_encoder import build_file_args

SIDE, NUM_FRAMES = 64, 4
RAW = ["-f", "rawvideo", "-pix_fmt", "yuv420p"]
SETTINGS = EncoderSettings(SIDE, SIDE, Fraction(25), 1, "ultrafast", "zerolatency", 10, None, 128, 1.0)


@pytest.fixture(params=["auto", "bundled"])
def ffmpeg(request: pytest.FixtureRequest) -> str:
    """The system's, then the one that the package brings."""
    return find_ffmpeg(request.param)


def frames_of_patches() -> ByteArray:
    """I420 frames (n, bytes) of four strong colours."""
    rows = np.arange(SIDE) * 2 // SIDE
    quarter = rows[:, None] * 2 + rows[None]
    planes = [
        np.array(values, np.uint8)[quarter[::step, ::step]]
        for values, step in (([60, 110, 160, 210], 1), ([90, 200, 70, 150], 2), ([170, 80, 210, 100], 2))
    ]
    return np.tile(np.concatenate([plane.ravel() for plane in planes]), (NUM_FRAMES, 1))


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".mov"])
def test_colours_are_those_of_the_frames(ffmpeg: str, suffix: str, tmp_path: Path) -> None:
    video, pcm, frames = tmp_path / f"out{suffix}", tmp_path / "silence.pcm", frames_of_patches()
    pcm.write_bytes(bytes(2 * 48_000 * NUM_FRAMES // 25))
    args = (
        build_ffmpeg_args(ffmpeg, SETTINGS, f"file:{pcm}")
        if suffix == ".mp4"
        else build_file_args(ffmpeg, SETTINGS, f"file:{pcm}", path=str(video), suffix=suffix, has_alpha=False)
    )
    done = subprocess.run(args, input=frames.tobytes(), capture_output=True, check=True)
    if suffix == ".mp4":
        video.write_bytes(done.stdout)
    decode = [ffmpeg, "-hide_banner", "-i", str(video), "-fps_mode", "passthrough", *RAW, "pipe:1"]
    decoded = subprocess.run(decode, capture_output=True, check=True)
    shown = np.frombuffer(decoded.stdout, np.uint8).reshape(frames.shape)
    assert np.abs(shown.astype(int) - frames).mean() < 0.7
    told = re.search(r"Video: .*", decoded.stderr.decode())
    assert told is not None
    assert "bt709" in told[0]
    assert "unknown" not in told[0]


def test_images_are_ffmpegs_only_output(ffmpeg: str) -> None:
    """One that took the audio would wait for ever where the images cannot be written."""
    args = build_file_args(ffmpeg, SETTINGS, "pipe:9", path="x-%d.png", suffix=".png", has_alpha=False)
    assert args.count("-f") == 2  # of the frames, and of the images
    assert "pipe:9" not in args
