"""Pages lent to a pipe: what the reader gets, whatever becomes of the memory, and where nothing is lent."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from musetalk_cli.system import lending
from musetalk_cli.system.lending import LEAST_BYTES, LendingWriter

SIZES = (3 * LEAST_BYTES + 5, 10, LEAST_BYTES, 7 * LEAST_BYTES, LEAST_BYTES - 1)


@contextmanager
def reader() -> Iterator[tuple[int, list[bytes]]]:
    """A pipe that is read in another thread, and what has been read: all of it behind the block's end."""
    read_fd, write_fd = os.pipe()
    got: list[bytes] = []

    def read() -> None:
        while data := os.read(read_fd, 5000):
            got.append(data)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield write_fd, got
    finally:
        os.close(write_fd)
        thread.join()
        os.close(read_fd)


@pytest.mark.parametrize("is_lent", [True, False])
def test_everything_arrives_though_its_memory_is_used_again(is_lent: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not is_lent:
        monkeypatch.setattr(lending, "_find_vmsplice", lambda: None)
    expected = []
    with reader() as (fd, got):
        writer = LendingWriter(fd)
        for number in range(30):
            array = np.full(SIZES[number % len(SIZES)], number, np.uint8)
            array[::7] = 255 - number
            expected.append(array.tobytes())
            writer.write(array.data)
            del array
            np.full(SIZES[number % len(SIZES)], 77, np.uint8)  # where it was, unless it is kept
    assert b"".join(got) == b"".join(expected)


def test_what_may_still_be_read_is_kept_and_no_more() -> None:
    with reader() as (fd, _):
        writer = LendingWriter(fd)
        if writer._lend is None:
            pytest.skip("this system lends no pages")
        for _number in range(20):
            writer.write(np.zeros(LEAST_BYTES, np.uint8).data)
        assert writer._capacity <= sum(len(data) for data, _ in writer._lent) <= writer._capacity + LEAST_BYTES


def test_where_lending_is_refused_the_rest_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lending, "_find_vmsplice", lambda: lambda *_: -1)
    with reader() as (fd, got):
        writer = LendingWriter(fd)
        array = np.arange(3 * LEAST_BYTES, dtype=np.uint32).view(np.uint8)
        writer.write(array.data)
        writer.write(array.data)
    assert b"".join(got) == 2 * array.tobytes()


def test_a_reader_that_has_gone_ends_it() -> None:
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    try:
        with pytest.raises(BrokenPipeError):
            LendingWriter(write_fd).write(np.zeros(LEAST_BYTES, np.uint8).data)
    finally:
        os.close(write_fd)
