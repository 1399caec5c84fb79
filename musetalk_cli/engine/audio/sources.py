"""Where the audio comes from: anything that ffmpeg decodes, as 48 kHz PCM."""

from __future__ import annotations

import re
import struct
import threading
from collections.abc import Sequence
from functools import cached_property
from typing import Protocol

import numpy as np

from musetalk_cli.engine.audio.decoder import MAX_GAP_S, MAX_GAPS_S, DecoderProcess, is_stream
from musetalk_cli.engine.audio.drops import Drops
from musetalk_cli.engine.audio.wav_header import length_before_cut
from musetalk_cli.engine.runtime.ffmpeg import describe_status, find_errors
from musetalk_cli.engine.runtime.ffmpeg_choice import explain_failure
from musetalk_cli.engine.types.addresses import is_address
from musetalk_cli.engine.types.formats import find_playlist
from musetalk_cli.engine.types.messages import AUDIO_RATE_HZ, AudioArray, Tell
from musetalk_cli.errors import MuseTalkError, SourceError
from musetalk_cli.hints import as_file
from musetalk_cli.option_names import option
from musetalk_cli.system.reading import PipeReader, open_reader

READ_BYTES = AUDIO_RATE_HZ * 4  # at most a second of stereo at once, so that a file costs few calls
RIFF_BYTES, CHUNK_BYTES = 12, 8  # the headers of a WAV file and of its chunks
# Lengths that files give are rounded, and padding counts in some: less than this is none.
LEAST_LOSS_S = 0.3
_DURATION = re.compile(r"^(?:\[info\])? *Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?)")


KINDS = "wav, mp3, flac, ogg, m4a, or a video with audio"
RAW_COMMAND = "musetalk stream --input - --format s16le --rate N --no-pace -o talk.mp4"
# From 0 to 100, ffmpeg's: an mp3 behind a large cover image has 12, four of its frames 25, noise 1 to 5.
LEAST_SCORE = 10
REMIND_S = 5.0
_IMAGE = re.compile(r"Input #0, \w+_pipe,|\[\w+_pipe @ .*not on whitelist")
_SCORE = re.compile(r"detected only with low score of (\d+)")


class AudioSource(Protocol):
    """A voice: int16 PCM at 48 kHz, mono or stereo."""

    num_channels: int

    @property
    def duration_s(self) -> float | None:
        """Its length in seconds, None where nobody can know it beforehand."""

    def open(self) -> None:
        """Wait until audio is known to come. Raises SourceError."""

    def read(self) -> AudioArray | None:
        """The next samples, int16 (n, channels), or None at the end. Raises SourceError when it breaks off."""

    def stop(self) -> None:
        """Let ``read`` come to its end soon, without an error; may be called from any thread."""

    def close(self) -> None:
        """Release everything; unblocks a waiting ``read``."""


class FileSource:
    """What a decoder makes of a file, a URL or standard input; the source owns the process.

    ``tell`` takes a line at the end when audio was missing or could not be decoded.
    """

    def __init__(self, decoder: DecoderProcess, tell: Tell | None = None) -> None:
        self._tell = tell
        self.num_channels = 2 if decoder.is_always_stereo else 1
        self._duration_s: float | None = None
        self._is_open = self._is_stopped = False
        self._num_bytes = 0
        self._pending = b""
        self._drops = Drops()
        self._decoder = decoder

    @property
    def duration_s(self) -> float | None:
        if self._duration_s is None:
            self._duration_s = _find_duration(self._decoder.log)
        return self._duration_s

    def open(self) -> None:
        reminder = threading.Timer(REMIND_S, self._remind)
        reminder.daemon = True
        if self._decoder.is_pipe and self._tell:
            reminder.start()
        try:
            self._open()
        finally:
            reminder.cancel()

    def _remind(self) -> None:
        # ffmpeg reads 1 MB before it gives up: half a minute of a microphone's raw samples.
        if self._tell and not any("Input #0" in line for line in self._decoder.log):
            self._tell(f"no audio is recognised on standard input so far; {self._raw_step}")

    @property
    def _raw_step(self) -> str:
        """What to do about raw samples; a decoder of a stream is always stereo."""
        step = "add --format s16le --rate N" if self._decoder.is_always_stereo else RAW_COMMAND
        return f"for raw samples, {step}"

    def _open(self) -> None:
        num_channels = self._read_header()
        first = self._read_exactly(2 * num_channels) if num_channels else b""
        if not first:
            self._decoder.wait()
            raise self._explain_nothing_decoded()
        if self._decoder.is_pipe and _is_guessed(self._decoder.log):
            raise self._explain_unknown()
        self._pending = first
        self.num_channels = num_channels
        self._is_open = True

    def _read_header(self) -> int:
        """The number of channels; the next byte is that of the first sample. 0 where the decoder ends before."""
        num_channels = 0
        self._read_exactly(RIFF_BYTES)
        while len(chunk := self._read_exactly(CHUNK_BYTES)) == CHUNK_BYTES:
            name, size = struct.unpack("<4sI", chunk)
            if name == b"data":
                return num_channels
            body = self._read_exactly(size + size % 2)
            if name == b"fmt ":
                num_channels = struct.unpack_from("<H", body, 2)[0]
        return 0

    def read(self) -> AudioArray | None:
        frame_bytes = 2 * self.num_channels
        data = self._pending
        while len(data) < frame_bytes or len(data) % frame_bytes:
            more = b"" if self._is_stopped else self._take(READ_BYTES - len(data) % frame_bytes)
            if not more:
                break
            data += more
        self._pending = b""
        data = data[: len(data) - len(data) % frame_bytes]  # a decoder that broke off may end within a sample
        if not data:
            self._check_end()
            return None
        self._num_bytes += len(data)
        return np.frombuffer(data, dtype="<i2").reshape(-1, self.num_channels)

    @property
    def is_stale(self) -> bool:
        return self._drops.is_stale

    def drop(self) -> None:
        """What was decoded of standard input is dropped; a file or a URL goes on where it was read to."""
        if self._decoder.is_pipe:
            with self._drops.dropping():
                if self._is_open:  # else what waits is the header
                    self._waiting.take_waiting(2 * self.num_channels)

    def stop(self) -> None:
        self._is_stopped = True
        self._decoder.kill()

    def close(self) -> None:
        self._decoder.close()
        if "_waiting" in vars(self):
            self._waiting.close()

    @cached_property
    def _waiting(self) -> PipeReader:
        """What reads a decoder whose input is a pipe, from behind the header on."""
        return open_reader(self._decoder.stdout.fileno())

    def _take(self, num_bytes: int) -> bytes:
        pipe = self._decoder.stdout
        while self._decoder.is_pipe and self._waiting.wait():
            with self._drops.reading():
                if (data := self._waiting.read(num_bytes)) is not None:  # it was not dropped
                    return data
        return b"" if self._decoder.is_pipe else pipe.read(num_bytes)

    def _check_end(self) -> None:
        status = self._decoder.wait()
        at_s = self._num_bytes / (2 * self.num_channels * AUDIO_RATE_HZ)
        if status and not self._is_stopped:
            how = f"ffmpeg {describe_status(status)}{self._last_error()}"
            raise SourceError(f"decoding {self._decoder.name} broke off after {at_s:.1f} s: {how}")
        loss = "" if self._is_stopped else describe_losses(self._decoder, at_s)
        if loss and self._tell:
            self._tell(f"warning: {self._decoder.name}: {loss}")

    def _read_exactly(self, num_bytes: int) -> bytes:
        data = b""
        while len(data) < num_bytes:
            more = self._decoder.stdout.read(num_bytes - len(data))
            if not more:
                break
            data += more
        return data

    def _explain_nothing_decoded(self) -> MuseTalkError:
        log = self._decoder.log
        was_recognised = any("Input #0" in line for line in log)
        if kind := find_playlist(log):
            hint = "give the audio file itself; a playlist is read only from an address, such as https://…/list.m3u8"
            return SourceError(f"{self._decoder.name} is not audio but a playlist ({kind})", hint=hint)
        if any(_IMAGE.search(line) for line in log):
            hint = f"give audio here, and the image as the avatar: {option('--avatar')} FILE"
            return SourceError(f"{self._decoder.name} is an image and has no audio", hint=hint)
        if self._decoder.is_pipe and any("not on whitelist" in line for line in log):
            return self._explain_unknown()
        if not was_recognised and (broken := explain_failure(self._decoder.program)):
            return broken
        if was_recognised and not any(": Audio:" in line for line in log):
            hint = "give an audio file, or a video with an audio track"
            return SourceError(f"{self._decoder.name} holds no audio", hint=hint)
        if was_recognised and not self._last_error():
            return SourceError(f"{self._decoder.name} holds no audio", hint="its header is all that there is")
        if self._decoder.num_read_bytes == 0 and "Invalid data" in self._last_error():
            return SourceError(f"{self._decoder.name} holds no audio", hint="it ended before the first byte")
        if is_address(self._decoder.name) and "Invalid data" not in self._last_error():
            hint = "check the address, and that it can be reached"
            return SourceError(f"{self._decoder.name} cannot be opened{self._last_error()}", hint=hint)
        if self._decoder.is_pipe:
            return self._explain_unknown()
        raw = (
            ""
            if is_address(self._decoder.location)
            else f"for raw samples, {RAW_COMMAND} < {as_file(self._decoder.location)}"
        )
        hint = f"it must be {KINDS}{raw and '; '}{raw}"
        return SourceError(f"{self._decoder.name} cannot be decoded as audio{self._last_error()}", hint=hint)

    def _explain_unknown(self) -> SourceError:
        """What to say of bytes on standard input that are no file; often they are raw samples."""
        hint = f"{self._raw_step}, with the format and the rate that they were made with; else it must be {KINDS}"
        faststart = "an m4a or mp4 from a pipe needs its index in front (-movflags faststart)"
        return SourceError("standard input is in no known audio format", hint=f"{hint}; {faststart}")

    def _last_error(self) -> str:
        error = self._decoder.error
        return f" ({error})" if error and "not on whitelist" not in error else ""


def _is_guessed(log: Sequence[str]) -> bool:
    """Whether ffmpeg took something for a format that it hardly resembles."""
    scores = (int(found[1]) for found in map(_SCORE.search, log) if found)
    return min(scores, default=LEAST_SCORE) < LEAST_SCORE


class Limited:
    """AudioSource that ends after ``duration_s`` seconds of another one."""

    def __init__(self, source: AudioSource, duration_s: float) -> None:
        self._source = source
        self._wanted_s = duration_s
        self._left = round(duration_s * AUDIO_RATE_HZ)
        self.num_channels = source.num_channels

    @property
    def duration_s(self) -> float | None:
        known_s = self._source.duration_s
        return self._wanted_s if known_s is None else min(known_s, self._wanted_s)

    def open(self) -> None:
        self._source.open()
        self.num_channels = self._source.num_channels

    def read(self) -> AudioArray | None:
        audio = self._source.read() if self._left else None
        if audio is None:
            return None
        audio = audio[: self._left]
        self._left -= len(audio)
        return audio

    def stop(self) -> None:
        self._source.stop()

    def close(self) -> None:
        self._source.close()


def describe_losses(decoder: DecoderProcess, decoded_s: float) -> str:
    """What is missing in ``decoded_s`` seconds that a decoder made, in words; empty where nothing is known to be."""
    filled_s, errors = decoder.num_filled / AUDIO_RATE_HZ, find_errors(decoder.log)
    is_file = not is_stream(decoder.location) and not is_address(decoder.location)
    header_s = length_before_cut(decoder.location) if is_file else None
    lost_s = (header_s or _known_length(decoder.log) or decoded_s) - decoded_s
    parts = []
    if errors:
        times = f"{len(errors)} times, first: " if len(errors) > 1 else ""
        parts.append(f"parts cannot be decoded ({times}{errors[0]})")
    if filled_s:
        parts.append(f"{filled_s:.1f} s without audio became silence")
    if filled_s >= MAX_GAP_S:
        parts.append(f"a gap counts as {MAX_GAP_S} s at most, all together as {MAX_GAPS_S} s")
    if lost_s >= LEAST_LOSS_S:
        parts.append(f"{lost_s:.1f} s of the {lost_s + decoded_s:.1f} s that it should have are missing")
    return "; ".join(parts)


def _known_length(log: list[str]) -> float | None:
    """Seconds that the audio itself should last; None where that is only estimated, or may be a video's length."""
    is_guess = any("Estimating duration" in line for line in log)
    has_video = any(": Video:" in line and "(attached pic)" not in line for line in log)
    return None if is_guess or has_video else _find_duration(log)


def _find_duration(log: list[str]) -> float | None:
    for line in log:
        found = _DURATION.search(line)
        if found:
            hours, minutes, seconds = found.groups()
            return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    return None
