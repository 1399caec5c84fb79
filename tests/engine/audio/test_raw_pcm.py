from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import numpy as np
import pytest

from fixtures.fakes import tone
from musetalk_cli.engine.audio.raw_pcm import FORMATS, RawSource
from musetalk_cli.errors import SourceError

Pipe = Callable[[], int]


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Standard input is a pipe; its other end."""
    read_fd, write_fd = os.pipe()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(closed=False, isatty=lambda: False, fileno=lambda: read_fd))
    yield write_fd
    os.close(read_fd)


def encode(audio: np.ndarray, sample_format: str) -> bytes:
    """int16 in another format."""
    wide = audio.astype(np.int64) << 16
    if sample_format == "u8":
        return ((audio.astype(int) >> 8) + 128).astype(np.uint8).tobytes()
    if sample_format == "s24le":
        return b"".join(int(value >> 8).to_bytes(3, "little", signed=True) for value in wide.ravel())
    kinds = {"s16le": "<i2", "s16be": ">i2", "s32le": "<i4", "f32le": "<f4", "f64le": "<f8"}
    kind = kinds[sample_format]
    if "f" in kind:
        return (audio / 32768.0).astype(kind).tobytes()
    return (wide if sample_format == "s32le" else audio).astype(kind).tobytes()


def read_all(source: RawSource) -> np.ndarray:
    pieces = []
    while (piece := source.read()) is not None:
        pieces.append(piece)
    return np.concatenate(pieces)


@pytest.mark.parametrize("num_channels", [1, 2])
@pytest.mark.parametrize("sample_format", sorted(FORMATS))
def test_every_format_bit_for_bit(stdin: int, sample_format: str, num_channels: int) -> None:
    audio = tone(0.05, num_channels) + (np.arange(num_channels) * 100).astype(np.int16)
    data = encode(audio, sample_format)

    def write() -> None:
        for start in range(0, len(data), 1_001):  # cut inside samples
            os.write(stdin, data[start : start + 1_001])
        os.close(stdin)

    writer = threading.Thread(target=write)
    writer.start()
    source = RawSource(sample_format, 48_000, num_channels)
    heard = read_all(source)
    writer.join()
    source.close()
    expected = (audio.astype(int) >> 8 << 8) if sample_format == "u8" else audio
    assert np.array_equal(heard, expected)


def test_not_a_number_is_silence(stdin: int) -> None:
    os.write(stdin, np.array([np.nan, np.inf, -np.inf, 0.5], "<f4").tobytes())
    os.close(stdin)
    source = RawSource("f32le", 48_000, 1)
    assert read_all(source)[:, 0].tolist() == [0, 32767, -32768, 16384]
    source.close()


def test_stop_wakes_a_read_that_waits(stdin: int) -> None:
    source = RawSource("s16le", 16_000, 1)
    timer = threading.Timer(0.1, source.stop)
    timer.start()
    assert source.read() is None
    timer.join()
    source.close()
    os.close(stdin)


def test_a_closed_input_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(SourceError, match="closed"):
        RawSource("s16le", 16_000, 1)


def test_half_a_sample_is_no_audio(stdin: int) -> None:
    source = RawSource("s16le", 48_000, 1)
    os.write(stdin, b"x")
    os.close(stdin)
    with pytest.raises(SourceError, match="holds no audio"):
        source.read()
    source.close()
    source.close()
    source.stop()


def test_one_sample_is_enough(stdin: int) -> None:
    source = RawSource("s16le", 48_000, 1)
    os.write(stdin, b"\x01\x00y")
    os.close(stdin)
    assert read_all(source).tolist() == [[1]]
    source.close()
