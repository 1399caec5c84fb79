"""Dropping what a source has said and nobody has shown."""

from __future__ import annotations

import io
import os
import sys
import threading
import wave
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from musetalk_cli.engine.audio.drops import Droppable, Drops
from musetalk_cli.engine.audio.raw_pcm import RawSource
from musetalk_cli.engine.audio.sources import RIFF_BYTES, FileSource
from musetalk_cli.system.reading import read_waiting


def test_a_read_is_stale_once_it_was_dropped() -> None:
    drops = Drops()
    with drops.reading():
        pass
    assert not drops.is_stale
    with drops.dropping():
        pass
    assert drops.is_stale
    with drops.reading():
        pass
    assert not drops.is_stale


def test_a_drop_waits_for_the_read_that_is_under_way() -> None:
    drops, order = Drops(), []

    def drop() -> None:
        with drops.dropping():
            order.append("dropped")

    with drops.reading():
        dropper = threading.Thread(target=drop)
        dropper.start()
        order.append("read")
    dropper.join()
    assert order == ["read", "dropped"]
    assert drops.is_stale


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read_fd, write_fd = os.pipe()
    yield read_fd, write_fd
    os.close(read_fd)
    os.close(write_fd)


@pytest.mark.parametrize(("num_bytes", "multiple", "taken"), [(0, 1, 0), (10, 1, 10), (11, 4, 8), (3, 4, 0)])
def test_what_waits_in_a_pipe_is_taken_in_whole_samples(
    pipe: tuple[int, int], num_bytes: int, multiple: int, taken: int
) -> None:
    os.write(pipe[1], bytes(range(num_bytes)))
    assert read_waiting(pipe[0], multiple) == bytes(range(taken))


def test_nothing_waits_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "voice.pcm"
    path.write_bytes(b"said")
    with path.open("rb") as file:
        assert read_waiting(file.fileno()) == b""
        assert file.read() == b"said"


def test_raw_samples_stay_whole_across_a_drop(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a sample has been read, and its other half is in the pipe: what comes later is not shifted by a byte."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.FileIO(os.dup(pipe[0]))))
    source = RawSource("s16le", 48_000, 1)
    try:
        assert isinstance(source, Droppable)
        old, new = np.full(501, 9_000, "<i2").tobytes(), np.full(4_000, -3_000, "<i2").tobytes()
        os.write(pipe[1], old[:-1])
        first = source.read()
        assert first is not None
        assert first[0, 0] == 9_000
        os.write(pipe[1], old[-1:] + old)
        source.drop()
        assert source.is_stale
        os.write(pipe[1], new)
        later = source.read()
        assert later is not None
        assert not source.is_stale
        assert set(np.unique(later)) == {-3_000}
    finally:
        source.close()
        sys.stdin.close()


def test_a_drop_while_the_header_is_read_leaves_it_whole(pipe: tuple[int, int]) -> None:
    with os.fdopen(os.dup(pipe[0]), "rb", buffering=0) as stdout:

        def read(num_bytes: int) -> bytes:
            if num_bytes == RIFF_BYTES:
                source.drop()
            return stdout.read(num_bytes)

        decoder = SimpleNamespace(
            is_pipe=True, is_always_stereo=True, log=[], close=lambda: None, stdout=SimpleNamespace(read=read)
        )
        decoder.stdout.fileno = stdout.fileno
        source = FileSource(decoder)  # type: ignore[arg-type]
        os.write(pipe[1], wav_bytes(np.full((100, 2), 9_000, np.int16)))
        source.open()
        assert source.num_channels == 2
        assert source.read() is not None
        assert source.is_stale, "its first sample, which was said before"
        later = source.read()
        assert later is not None
        assert not source.is_stale
        assert set(np.unique(later)) == {9_000}
        source.close()


def wav_bytes(samples: np.ndarray) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as wav:
        wav.setparams((samples.shape[1], 2, 48_000, 0, "NONE", ""))
        wav.writeframes(samples.tobytes())
    return file.getvalue()
