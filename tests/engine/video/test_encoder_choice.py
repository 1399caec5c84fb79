from __future__ import annotations

from pathlib import Path

import pytest

from musetalk_cli.engine.video.encoder_choice import choose_codec, probe_codec
from musetalk_cli.errors import EncoderError


def test_a_probe_encodes(ffmpeg: str) -> None:
    assert probe_codec(ffmpeg, "libx264") is None
    problem = probe_codec(ffmpeg, "h264_of_tomorrow")
    assert problem is not None
    assert "h264_of_tomorrow" in problem


def test_x264_is_the_fallback_and_a_name_is_obeyed_or_refused(ffmpeg: str) -> None:
    assert choose_codec(ffmpeg, "x264") == "libx264"
    assert choose_codec(ffmpeg, "auto") in ("libx264", "h264_nvenc", "h264_videotoolbox")
    if Path("/dev/nvidiactl").exists():
        pytest.skip("this machine may have NVENC")
    assert choose_codec(ffmpeg, "auto") != "h264_nvenc"
    with pytest.raises(EncoderError, match="nvenc does not work here"):
        choose_codec(ffmpeg, "nvenc")
