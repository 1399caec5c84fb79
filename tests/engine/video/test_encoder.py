from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

from musetalk_cli.engine.runtime.ffmpeg import FfmpegProcess, describe_status, find_ffmpeg
from musetalk_cli.engine.video.encoder import EncoderSettings, build_ffmpeg_args
from musetalk_cli.errors import EncoderError

SETTINGS = EncoderSettings(768, 432, Fraction(30_000, 1001), 2, "ultrafast", "zerolatency", 23, None, 128, 1.0)


def options_of(settings: EncoderSettings) -> dict[str, str]:
    args = build_ffmpeg_args("ffmpeg", settings, 9)
    output = args[args.index("-map") :]
    return {key: value for key, value in pairwise(output) if key.startswith("-")}


def test_inputs_are_told_what_they_are_and_not_probed() -> None:
    args = " ".join(build_ffmpeg_args("/opt/ffmpeg", SETTINGS, 9))
    assert args.startswith("/opt/ffmpeg ")
    assert "-pix_fmt yuv420p" in args.split("-i pipe:0")[0]
    assert "-s 768x432" in args
    assert "-framerate 30000/1001" in args
    assert "-f s16le" in args.split("-i pipe:9")[0]
    assert args.count("-analyzeduration 0") == 2
    assert args.count("-probesize 32") == 2


def test_one_fragmented_mp4_for_players_everywhere() -> None:
    options = options_of(SETTINGS)
    assert options["-movflags"] == "frag_keyframe+empty_moov+default_base_moof"
    assert (options["-vcodec"], options["-preset"], options["-tune"]) == ("libx264", "ultrafast", "zerolatency")
    assert (options["-pix_fmt"], options["-colorspace"], options["-color_range"]) == ("yuv420p", "bt709", "tv")
    assert (options["-acodec"], options["-ar"], options["-b:a"]) == ("aac", "48000", "128k")
    assert (options["-crf"], options["-g"]) == ("23", "30")


def test_a_bitrate_replaces_the_quality() -> None:
    options = options_of(replace(SETTINGS, video_kbps=2_000, tune="none", keyframe_interval_s=2.0))
    assert options["-b:v"] == options["-maxrate"] == "2000k"
    assert options["-g"] == "60"
    assert "-crf" not in options
    assert "-tune" not in options


def test_ffmpeg_is_found_or_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_ffmpeg("auto") == find_ffmpeg("bundled")
    mine = tmp_path / "ffmpeg"
    mine.write_text("#!/bin/sh\n")
    mine.chmod(0o755)
    assert find_ffmpeg("auto") == str(mine)
    assert find_ffmpeg(str(mine)) == str(mine)
    with pytest.raises(EncoderError, match="no ffmpeg at '/nowhere/ffmpeg'"):
        find_ffmpeg("/nowhere/ffmpeg")


def test_a_program_that_does_not_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="cannot start"):
        FfmpegProcess([str(tmp_path / "missing")], stdin=-3)


@pytest.mark.parametrize(
    ("status", "words"),
    [(1, "ended with exit status 1"), (-9, "was killed by SIGKILL"), (-70, "was killed by signal 70")],
)
def test_statuses_in_words(status: int, words: str) -> None:
    assert describe_status(status) == words
