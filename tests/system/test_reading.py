"""Readers of pipes: both kinds, on whatever system runs the tests."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from musetalk_cli.system.reading import PipeReader, PolledReader, ThreadedReader

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="one of the two is POSIX's")

Open = Callable[[int], PipeReader]


@pytest.fixture(params=[PolledReader, ThreadedReader])
def opened(request: pytest.FixtureRequest) -> Iterator[tuple[PipeReader, IO[bytes]]]:
    """A reader of a pipe, and the pipe's writing end."""
    reads, writes = os.pipe()
    reader = request.param(reads)
    with os.fdopen(writes, "wb", buffering=0) as writing:
        yield reader, writing
    reader.stop()
    reader.close()
    reader.close()
    reader.stop()
    os.close(reads)


def read_soon(reader: PipeReader, num_bytes: int) -> bytes:
    assert reader.wait()
    data = reader.read(num_bytes)
    assert data is not None
    return data


def test_reads_what_comes_and_then_the_end(opened: tuple[PipeReader, IO[bytes]]) -> None:
    reader, writes = opened
    assert reader.read(10) is None
    writes.write(b"abcdef")
    assert read_soon(reader, 4) == b"abcd"
    assert read_soon(reader, 4) == b"ef"
    assert reader.read(4) is None
    writes.close()
    assert read_soon(reader, 4) == b""
    assert read_soon(reader, 4) == b""


def test_takes_whole_samples_of_what_waits(opened: tuple[PipeReader, IO[bytes]]) -> None:
    reader, writes = opened
    writes.write(b"abcdefg")
    assert reader.wait()
    assert reader.take_waiting(4) == b"abcd"
    assert reader.take_waiting(4) == b""
    assert read_soon(reader, 10) == b"efg"


def test_stop_ends_a_wait(opened: tuple[PipeReader, IO[bytes]]) -> None:
    reader, _ = opened
    found = list[bool]()
    waiting = threading.Thread(target=lambda: found.append(reader.wait()))
    waiting.start()
    reader.stop()
    waiting.join(10)
    assert found == [False]


@pytest.mark.parametrize("kind", [PolledReader, ThreadedReader])
def test_nothing_of_a_file_is_dropped(kind: Open, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc" * 100_000)
    with (tmp_path / "file").open("rb") as file:
        reader = kind(file.fileno())
        assert reader.wait()
        assert reader.take_waiting() == b""
        data = b""
        while part := read_soon(reader, 1 << 16):
            data += part
        assert data == b"abc" * 100_000
        reader.close()
