"""ffmpeg as the decoder: anything it understands → 48 kHz PCM on its stdout.

Nothing here needs numpy, so the process can start before that is loaded.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from musetalk_cli.engine.runtime.ffmpeg import FfmpegProcess
from musetalk_cli.engine.runtime.files import find_similar
from musetalk_cli.engine.types.addresses import hide_address, is_address, show_address
from musetalk_cli.engine.types.audio import AUDIO_RATE_HZ
from musetalk_cli.engine.types.formats import PIPE_WHITELIST, WHITELIST, build_companion
from musetalk_cli.engine.types.signatures import HEAD_BYTES, is_encrypted, looks_like_image
from musetalk_cli.errors import SourceError, system_words
from musetalk_cli.hints import as_file
from musetalk_cli.system.pipes import widen

STDIN = "-"
OWN_DESCRIPTORS = ("/dev/stdin", "/dev/fd/", "/proc/self/fd/")
# A jump of the timestamps by less than this is inexact writing, not a gap.
LEAST_GAP_S = 0.1
# Timestamps that jump by hours are broken: no gap becomes more silence than this, nor do all of them together.
MAX_GAP_S = 60
MAX_GAPS_S = 600
# Addresses that audio comes from; those that open others, such as concat: and subfile:, are none.
SCHEMES = tuple(
    "file ftp http https mmsh mmst rtmp rtmpe rtmps rtmpt rtmpts rtp rtsp sftp srt srtp tcp tls udp".split()  # noqa: SIM905
)
_FILLED = re.compile(r"adding (\d+) audio samples of silence")
_READ = re.compile(r"Statistics: (\d+) bytes read")


class DecoderProcess(FfmpegProcess):
    """Decodes a file, a URL or standard input (``-``) to WAV on ``stdout``; it starts at once, to be ready early.

    ``is_live``, ``beside``: see ``build_decoder_args``. ``num_filled``: samples of silence that were put in where
    timestamps say that audio is missing, so far. ``num_read_bytes``: of the input, None as long as it is not closed.
    Raises SourceError when the input cannot even be opened.
    """

    def __init__(self, location: str, ffmpeg: str, *, is_live: bool = False, beside: int | None = None) -> None:
        self.name = "standard input" if location == STDIN else show_address(location)
        self.location = location  # as it was given
        self.is_pipe = location == STDIN
        self.is_always_stereo = is_live and self.is_pipe
        self.num_filled = 0
        self.num_read_bytes: int | None = None
        check_input(location)
        with open_stdin(location) as stdin:
            super().__init__(build_decoder_args(ffmpeg, location, is_live=is_live, beside=beside), stdin=stdin)
        widen(self.stdout)

    @property
    def log(self) -> list[str]:
        """The last lines that ffmpeg wrote so far, without the secrets of the input's address."""
        lines = super().log
        return [hide_address(line, self.location) for line in lines] if is_address(self.location) else lines

    def _keeps(self, line: str) -> bool:
        if "[verbose]" not in line:
            return True
        if filled := _FILLED.search(line):
            self.num_filled += int(filled[1])
        if read := _READ.search(line):
            self.num_read_bytes = (self.num_read_bytes or 0) + int(read[1])
        return False


def build_decoder_args(ffmpeg: str, location: str, *, is_live: bool = False, beside: int | None = None) -> list[str]:
    """ffmpeg's arguments that turn the default audio track into 48 kHz 16-bit PCM, mono or stereo as it is.

    Where timestamps say that audio is missing, silence takes its place. ``is_live``: every packet is handed on at once,
    a lost web server is called again, and standard input becomes stereo whatever it is, so that a stream can begin
    before its first bytes are there; only a file's gaps are filled, since those of others have passed in real time.
    ``beside``: a track of the file that the audio keeps its distance from; see ``build_companion``.
    """
    url = "pipe:0" if is_stream(location) else location if is_address(location) else f"file:{location}"
    layouts = "stereo" if is_live and location == STDIN else "mono|stereo"
    layout = f"aformat=sample_fmts=s16:sample_rates={AUDIO_RATE_HZ}:channel_layouts={layouts}"
    has_gaps_filled = not is_live or url.startswith("file:")
    filters = f"{_fill_gaps()},{layout}" if has_gaps_filled else layout
    # "verbose", since only that says how much silence was put in.
    quiet = ["-hide_banner", "-nostats", "-loglevel", "level+verbose"] + ([] if is_stream(location) else ["-nostdin"])
    calls_again = is_live and url.lower().startswith(("http://", "https://"))
    patient = ["-reconnect", "1", "-reconnect_streamed", "1", "-reconnect_delay_max", "5"] if calls_again else []
    at_once = ["-flush_packets", "1"] if is_live else []
    # ffmpeg itself keeps a playlist from a server from naming files of this machine.
    whitelist = PIPE_WHITELIST if location == STDIN else WHITELIST
    allowed = [] if is_address(location) and not url.lower().startswith("file:") else whitelist
    # Without -map, ffmpeg takes the track that is marked as the default, of several the one with most channels.
    # Tags would be in the WAV's header, before the samples.
    bare = ["-vn", "-sn", "-dn", "-map_metadata", "-1", "-fflags", "+bitexact"]
    output = ["-af", filters, *bare, *at_once, "-f", "wav", "pipe:1"]
    companion = [] if beside is None else build_companion(beside)
    return [ffmpeg, *quiet, *patient, *allowed, "-i", url, *output, *companion]


def build_whole_args(ffmpeg: str, path: str) -> list[str]:
    """ffmpeg's arguments that turn a file's default audio track into 32-bit float WAV as it is: its own sampling rate
    and channels, with nothing put in or left out."""
    quiet = ["-hide_banner", "-nostats", "-nostdin", "-loglevel", "level+error", *WHITELIST]
    output = ["-vn", "-sn", "-dn", "-c:a", "pcm_f32le", "-fflags", "+bitexact", "-f", "wav", "pipe:1"]
    return [ffmpeg, *quiet, "-i", f"file:{path}", *output]


def _fill_gaps() -> str:
    """Filters that put silence where the timestamps jump forward, and change nothing elsewhere.

    ``aresample`` alone would also make up for clocks that drift, and drop audio where timestamps jump back. So every
    frame gets the timestamp that follows from the samples before it, and the gaps so far: variable 0, in units of TB.
    Variable 1 is where the next frame should stand. Times begin where the file's first track does.
    """
    gap = f"min(min(PTS-ld(1)\\,{MAX_GAP_S}/TB)\\,{MAX_GAPS_S}/TB-ld(0))"
    is_gap = f"not(isnan(NB_SAMPLES))*gt(PTS-ld(1)\\,{LEAST_GAP_S}/TB)"
    add = f"st(0\\,ld(0)+if({is_gap}\\,{gap}))"
    expect = "st(1\\,if(isnan(PTS)\\,ld(1)\\,PTS)+NB_SAMPLES/SR/TB)"
    times = f"{add}\\;{expect}\\;NB_CONSUMED_SAMPLES/SR/TB+ld(0)"
    return f"aresample={AUDIO_RATE_HZ},asetpts={times},aresample=async=1:first_pts=0"


def is_stream(location: str) -> bool:
    """Whether it is stdin, a named pipe or a device: something ffmpeg gets as an open file, since it may not be able to
    open it by name (``/dev/fd/63`` is ours, not our child's, whatever it leads to)."""
    if location == STDIN or location.startswith(OWN_DESCRIPTORS):
        return True
    return not is_address(location) and Path(location).exists() and not Path(location).is_file()


@contextmanager
def open_stdin(location: str) -> Iterator[int | IO[bytes]]:
    """What the decoder gets as its standard input; closed on our side once it has it."""
    if location == STDIN:
        yield sys.stdin.buffer
    elif is_stream(location):
        with Path(location).open("rb", buffering=0) as stream:
            yield stream
    else:
        yield subprocess.DEVNULL


def check_input(location: str) -> None:
    """Raise SourceError, saying what is wrong, for an input that cannot even be opened."""
    if not location:
        raise SourceError("the input has no name", hint="give an audio file, a URL, or - for standard input")
    if location == STDIN:
        if sys.stdin is None or sys.stdin.closed:
            raise SourceError("standard input is closed", hint="pipe audio into it")
        if sys.stdin.isatty():
            raise SourceError("standard input is a terminal", hint="pipe audio into it: tts | musetalk render -")
    if is_address(location) and (scheme := location.split("://", 1)[0]).lower() not in SCHEMES:
        raise SourceError(f"cannot read audio from '{scheme}://'", hint=f"supported are {', '.join(SCHEMES)}")
    if location == STDIN or is_address(location):
        return
    path = Path(location)
    try:
        if path.is_dir():
            raise SourceError(f"{location} is a folder", hint="give one audio file")
        if path.is_file() and path.stat().st_size == 0:
            raise SourceError(f"{location} holds no audio", hint="the file is empty")
        if path.is_file():
            _check_kind(path)
        elif not path.exists():
            raise SourceError(f"{location} does not exist", hint=find_similar(path))
    except (OSError, RuntimeError, ValueError) as error:
        raise SourceError(f"cannot read {location}: {system_words(error)}") from None


def _check_kind(path: Path) -> None:
    """Raise SourceError, with what helps, for a file that is a voice by no means; OSError when it cannot be read."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if looks_like_image(head):
        hint = (
            f"give audio as the input, and this as the avatar, such as musetalk render --demo --avatar {as_file(path)}"
        )
        raise SourceError(f"{path} is an image and has no audio", hint=hint)
    if head[4:8] == b"ftyp" and is_encrypted(path):
        raise SourceError(f"{path} is encrypted", hint="give a copy without copy protection (DRM)")
