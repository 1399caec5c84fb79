"""Raw samples on standard input, as a speech synthesiser or a recorder writes them."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.audio.drops import Drops
from musetalk_cli.engine.audio.resampling import Resampler
from musetalk_cli.engine.types.messages import AudioArray, FloatArray
from musetalk_cli.errors import SourceError
from musetalk_cli.system.reading import open_reader

READ_BYTES = 1 << 14
# How files begin that hold more than samples, at which byte, and what they are called.
CONTAINERS = (
    (0, b"RIFF", "WAV"),
    (0, b"RF64", "WAV"),
    (0, b"FORM", "AIFF"),
    (0, b"OggS", "Ogg"),
    (0, b"fLaC", "FLAC"),
    (0, b"ID3", "MP3"),
    (0, b"caff", "CAF"),
    (0, b".snd", "AU"),
    (0, b"\x1aE\xdf\xa3", "Matroska or WebM"),
    (4, b"ftyp", "MP4"),
)
HEAD_BYTES = 8  # the longest of them


def _integers(kind: str) -> Callable[[bytes], FloatArray]:
    scale = np.float32(2.0 ** (8 * np.dtype(kind).itemsize - 1))
    return lambda data: np.frombuffer(data, kind).astype(np.float32) / scale


def _floats(kind: str) -> Callable[[bytes], FloatArray]:
    return lambda data: np.clip(np.nan_to_num(np.frombuffer(data, kind)), -1, 1).astype(np.float32)


def _unsigned(data: bytes) -> FloatArray:
    return (np.frombuffer(data, np.uint8).astype(np.float32) - 128.0) / 128.0


def _packed_24(data: bytes) -> FloatArray:
    parts: NDArray[np.int32] = np.frombuffer(data, np.uint8).reshape(-1, 3).astype(np.int32)
    values = (parts[:, 0] << 8) | (parts[:, 1] << 16) | (parts[:, 2] << 24)
    return np.asarray(values / 2147483648.0, dtype=np.float32)


# Name → bytes of a sample, and how to read it; the names are ffmpeg's.
FORMATS: dict[str, tuple[int, Callable[[bytes], FloatArray]]] = {
    "u8": (1, _unsigned),
    "s16le": (2, _integers("<i2")),
    "s16be": (2, _integers(">i2")),
    "s24le": (3, _packed_24),
    "s32le": (4, _integers("<i4")),
    "f32le": (4, _floats("<f4")),
    "f64le": (8, _floats("<f8")),
}


class RawSource:
    """AudioSource of raw PCM on standard input: a sample format, its rate in Hz and 1 or 2 interleaved channels.

    Raises SourceError when standard input is closed or a terminal; ``read`` does when it ends without a sample.
    """

    duration_s = None

    def __init__(self, sample_format: str, rate_hz: int, num_channels: int) -> None:
        if sys.stdin is None or sys.stdin.closed:
            raise SourceError("standard input is closed", hint="pipe raw samples into it")
        if sys.stdin.isatty():
            raise SourceError("standard input is a terminal", hint="pipe raw samples into it: tts | musetalk stream …")
        self.num_channels = num_channels
        self._format = sample_format
        width, self._decode = FORMATS[sample_format]
        self._frame_bytes = width * num_channels
        self._rate_hz = rate_hz
        self._resampler = Resampler(rate_hz, num_channels)
        self._drops = Drops()
        self._reader = open_reader(sys.stdin.fileno())
        self._rest = self._head = b""
        self._has_spoken = False

    def open(self) -> None:
        """Nothing to wait for: raw samples have no header."""

    def read(self) -> AudioArray | None:
        while True:
            if not self._reader.wait():
                return None
            with self._drops.reading():
                data = self._reader.read(READ_BYTES)
                if data is None:
                    continue  # it was dropped
                self._check_head(data)
                audio = self._convert(data)
            if not data:
                if not self._has_spoken:
                    raise SourceError("standard input holds no audio", hint="pipe raw samples into it")
                return None
            if len(audio):
                return audio

    @property
    def is_stale(self) -> bool:
        return self._drops.is_stale

    def drop(self) -> None:
        """What waits in the pipe is dropped, and samples stay whole."""
        with self._drops.dropping():
            self._split(self._reader.take_waiting())
            self._resampler = Resampler(self._rate_hz, self.num_channels)

    def _check_head(self, data: bytes) -> None:
        """Raise SourceError where the input begins as a file does whose samples stand behind a header."""
        if len(self._head) >= HEAD_BYTES:
            return
        self._head += data[:HEAD_BYTES]
        for at, mark, kind in CONTAINERS:
            if self._head[at:].startswith(mark):
                hint = "leave --format out: then the format is recognised"
                raise SourceError(f"standard input holds {kind}, and not bare {self._format} samples", hint=hint)

    def _convert(self, data: bytes) -> AudioArray:
        whole = self._split(data)
        return self._resampler.push(self._decode(whole).reshape(-1, self.num_channels))

    def _split(self, data: bytes) -> bytes:
        """The whole samples; the rest of one is kept until its other bytes are there."""
        data = self._rest + data
        num_whole = len(data) - len(data) % self._frame_bytes
        self._has_spoken = self._has_spoken or num_whole > 0
        self._rest = data[num_whole:]
        return data[:num_whole]

    def stop(self) -> None:
        self._reader.stop()

    def close(self) -> None:
        self._reader.close()
