"""Where the voice comes from: anything that ffmpeg decodes, as 48 kHz PCM."""

from __future__ import annotations

import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol

import numpy as np

from musetalk_cli.engine.ffmpeg_process import FfmpegProcess, describe_status, widen_pipe
from musetalk_cli.engine.messages import SOUND_RATE_HZ, SoundArray
from musetalk_cli.errors import SourceError

STDIN = "-"
READ_BYTES = SOUND_RATE_HZ * 4  # at most a second of stereo at once, so that a file costs few calls
WAV_HEADER_BYTES = 44  # what ffmpeg writes in bit-exact mode: RIFF, one 'fmt ' chunk, 'data'
_DURATION = re.compile(r"Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?)")


class AudioSource(Protocol):
    """A voice: int16 PCM at 48 kHz, mono or stereo."""

    num_channels: int

    @property
    def duration_s(self) -> float | None:
        """Its length in seconds, None where nobody can know it beforehand."""

    def open(self) -> None:
        """Wait until sound is known to come. Raises SourceError."""

    def read(self) -> SoundArray | None:
        """The next samples, int16 (n, channels), or None at the end. Raises SourceError when it breaks off."""

    def stop(self) -> None:
        """Let ``read`` come to its end soon, without an error; may be called from any thread."""

    def close(self) -> None:
        """Release everything; unblocks a waiting ``read``."""


class FileSource:
    """Decodes a file, a URL or standard input (``-``) with ffmpeg; the process starts at once, to be ready early."""

    def __init__(self, location: str, ffmpeg: str, *, is_live: bool = False) -> None:
        self.num_channels = 2 if is_live and location == STDIN else 1
        self._duration_s: float | None = None
        self._name = "standard input" if location == STDIN else location
        self._is_stopped = False
        self._num_bytes = 0
        self._pending = b""
        check_input(location)
        with open_stdin(location) as stdin:
            self._process = FfmpegProcess(build_decoder_args(ffmpeg, location, is_live=is_live), stdin=stdin)
        widen_pipe(self._process.stdout)

    @property
    def duration_s(self) -> float | None:
        if self._duration_s is None:
            self._duration_s = _find_duration(self._process.log)
        return self._duration_s

    def open(self) -> None:
        header = self._read_exactly(WAV_HEADER_BYTES)
        first = self._read_exactly(4) if len(header) == WAV_HEADER_BYTES else b""
        if not first:
            self._process.wait()
            raise self._explain_nothing_decoded()
        self._pending = first
        self.num_channels = struct.unpack_from("<H", header, 22)[0]

    def read(self) -> SoundArray | None:
        frame_bytes = 2 * self.num_channels
        data = self._pending
        while len(data) < frame_bytes or len(data) % frame_bytes:
            more = b"" if self._is_stopped else self._process.stdout.read(READ_BYTES - len(data) % frame_bytes)
            if not more:
                self._check_end()
                return None
            data += more
        self._pending = b""
        self._num_bytes += len(data)
        return np.frombuffer(data, dtype="<i2").reshape(-1, self.num_channels)

    def stop(self) -> None:
        self._is_stopped = True
        self._process.kill()

    def close(self) -> None:
        self._process.close()

    def _check_end(self) -> None:
        status = self._process.wait()
        if status and not self._is_stopped:
            at_s = self._num_bytes / (2 * self.num_channels * SOUND_RATE_HZ)
            how = f"ffmpeg {describe_status(status)}{self._last_error()}"
            raise SourceError(f"decoding {self._name} broke off after {at_s:.1f} s: {how}")

    def _read_exactly(self, num_bytes: int) -> bytes:
        data = b""
        while len(data) < num_bytes:
            more = self._process.stdout.read(num_bytes - len(data))
            if not more:
                break
            data += more
        return data

    def _explain_nothing_decoded(self) -> SourceError:
        log = self._process.log
        was_recognised = any("Input #0" in line for line in log)
        if was_recognised and not any(": Audio:" in line for line in log):
            return SourceError(f"{self._name} has no sound", hint="give a sound file, or a video with an audio track")
        if was_recognised and not self._last_error():
            return SourceError(f"{self._name} holds 0 s of sound")
        hint = "it must be something ffmpeg decodes: wav, mp3, flac, ogg, m4a, or a video with sound"
        if self._name == "standard input":
            hint += "; an m4a or mp4 from a pipe must have its index in front (-movflags faststart)"
        return SourceError(f"{self._name} cannot be decoded as sound{self._last_error()}", hint=hint)

    def _last_error(self) -> str:
        errors = [line for line in self._process.log if "[error]" in line or "[fatal]" in line]
        return f" ({errors[0].split('] ')[-1]})" if errors else ""


def build_decoder_args(ffmpeg: str, location: str, *, is_live: bool = False) -> list[str]:
    """ffmpeg's arguments that turn the first audio track into 48 kHz 16-bit PCM, mono or stereo as it is.

    ``is_live``: every packet is handed on at once, a lost web server is called again, and standard input becomes
    stereo whatever it is, so that a stream can begin before its first bytes are there.
    """
    url = "pipe:0" if is_stream(location) else location if is_url(location) else f"file:{location}"
    layouts = "stereo" if is_live and location == STDIN else "mono|stereo"
    layout = f"aformat=sample_fmts=s16:sample_rates={SOUND_RATE_HZ}:channel_layouts={layouts}"
    quiet = ["-hide_banner", "-nostats", "-loglevel", "level+info"] + ([] if is_stream(location) else ["-nostdin"])
    calls_again = is_live and url.lower().startswith(("http://", "https://"))
    patient = ["-reconnect", "1", "-reconnect_streamed", "1", "-reconnect_delay_max", "5"] if calls_again else []
    at_once = ["-flush_packets", "1"] if is_live else []
    output = ["-map", "0:a:0", "-af", layout, "-fflags", "+bitexact", *at_once, "-f", "wav", "pipe:1"]
    return [ffmpeg, *quiet, *patient, "-i", url, *output]


def is_url(location: str) -> bool:
    return re.match(r"[a-z][a-z0-9+.-]*://", location, re.IGNORECASE) is not None


def is_stream(location: str) -> bool:
    """Whether it is stdin, a named pipe or a device: something ffmpeg gets as an open file, since it may not be able to
    open it by name (``/dev/fd/63`` is ours, not our child's)."""
    return location == STDIN or (not is_url(location) and Path(location).exists() and not Path(location).is_file())


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
    if location == STDIN:
        if sys.stdin is None or sys.stdin.closed:
            raise SourceError("standard input is closed", hint="pipe a sound into it")
        if sys.stdin.isatty():
            raise SourceError("standard input is a terminal", hint="pipe a sound into it: tts | musetalk render -")
    if location == STDIN or is_url(location):
        return
    path = Path(location)
    try:
        if path.is_dir():
            raise SourceError(f"{location} is a folder", hint="give one sound file")
        if path.is_file() and path.stat().st_size == 0:
            raise SourceError(f"{location} is empty")
        if path.is_file():
            path.open("rb").close()
        elif not path.exists():
            raise SourceError(f"{location} does not exist")
    except (OSError, RuntimeError, ValueError) as error:
        raise SourceError(f"cannot read {location}: {getattr(error, 'strerror', None) or error}") from None


def _find_duration(log: list[str]) -> float | None:
    for line in log:
        found = _DURATION.search(line)
        if found:
            hours, minutes, seconds = found.groups()
            return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    return None
