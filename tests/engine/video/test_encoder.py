from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

from musetalk_cli.engine.video.encoder import EncoderSettings, build_ffmpeg_args

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
