"""Which video encoder to use: the ones in hardware only when they really encode."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path
from typing import Literal

from musetalk_cli.engine.runtime.ffmpeg import describe_status, find_error, run_ffmpeg
from musetalk_cli.engine.video.encoder import EncoderSettings, video_options
from musetalk_cli.errors import EncoderError
from musetalk_cli.option_names import option

EncoderChoice = Literal["auto", "x264", "nvenc", "videotoolbox"]
CODECS = {"x264": "libx264", "nvenc": "h264_nvenc", "videotoolbox": "h264_videotoolbox"}
PROBE_TIMEOUT_S = 10.0


def choose_codec(ffmpeg: str, choice: EncoderChoice) -> str:
    """ffmpeg's name of the encoder. ``auto`` takes the machine's own if it works, else x264.

    Raises EncoderError when a named one does not work here.
    """
    if choice == "x264":
        return CODECS[choice]
    if choice == "auto":
        likely = _guess()
        return CODECS[likely] if likely and probe_codec(ffmpeg, CODECS[likely]) is None else CODECS["x264"]
    problem = probe_codec(ffmpeg, CODECS[choice])
    if problem is not None:
        raise EncoderError(
            f"the encoder {choice} does not work here: {problem}",
            hint=f"{option('--encoder')} auto chooses one that works",
        )
    return CODECS[choice]


def probe_codec(ffmpeg: str, codec: str) -> str | None:
    """Encode a few frames with it: None when that works, else what ffmpeg says. Being listed means nothing."""
    import ffmpeg as builder

    settings = EncoderSettings(256, 256, Fraction(25), 1, "ultrafast", "zerolatency", 23, None, 64, 1.0, codec)
    images = builder.input("color=c=gray:s=256x256:r=25:d=0.2", f="lavfi")
    output = builder.output(images, "-", f="null", **video_options(settings))
    quiet = output.global_args("-hide_banner", "-nostdin", "-loglevel", "level+error")
    try:
        done = run_ffmpeg(builder.compile(quiet, cmd=ffmpeg), timeout_s=PROBE_TIMEOUT_S)
    except EncoderError as error:
        return str(error)
    if done.returncode == 0:
        return None
    reason = find_error(done.stderr.decode("utf-8", "replace").splitlines())
    return reason or f"ffmpeg {describe_status(done.returncode)}"


def _guess() -> Literal["nvenc", "videotoolbox"] | None:
    """The hardware encoder that could be there: a probe costs a quarter of a second, and most machines need none."""
    if sys.platform == "darwin":
        return "videotoolbox"
    has_nvidia = Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists()  # the latter under WSL
    return "nvenc" if has_nvidia else None
