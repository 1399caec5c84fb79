"""What every sink promises, whatever it writes to."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from fractions import Fraction
from pathlib import Path
from typing import IO

import pytest

from musetalk_cli.engine.outputs.destinations import open_sink
from musetalk_cli.engine.outputs.fan_out import FanOut
from musetalk_cli.engine.outputs.fragments import Fragment
from musetalk_cli.engine.outputs.remuxed_file import Remuxer
from musetalk_cli.engine.outputs.sinks import Sink
from musetalk_cli.engine.outputs.targets import LocalTarget
from musetalk_cli.engine.runtime.stage import Aborted
from tests.engine.outputs.test_fragments import INIT_SEGMENT, box

REMUXER = Remuxer("ffmpeg", Fraction(25))
FRAGMENTS = tuple(Fragment(box(b"moof", 100) + box(b"mdat", size), 1, not size) for size in (0, 5_000, 7))
TRAILER = Fragment(box(b"mfra", 50), 0, False, is_trailer=True)
LARGE = Fragment(box(b"moof", 100) + box(b"mdat", 1 << 20), 1, True)
KINDS = ("file", "replaced file", "standard output", "named pipe", "target", "fan-out")
WAITING_KINDS = ("standard output", "named pipe", "fan-out")


class Case:
    """A sink of one kind, and what arrives where it writes to."""

    def __init__(self, kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._path, self._pipe = folder / "talk.mp4", folder / "pipe"
        self._stdout: IO[str] | None = None
        self._reader: int | None = None
        if kind == "replaced file":
            self._path.write_bytes(b"old")
        if kind in WAITING_KINDS:
            os.mkfifo(self._pipe)
            self._reader = os.open(self._pipe, os.O_RDONLY | os.O_NONBLOCK)
        if kind == "standard output":
            self._stdout = self._pipe.open("w")
            monkeypatch.setattr(sys, "stdout", self._stdout)
        self.sink = self._open(kind)

    def _open(self, kind: str) -> Sink:
        if kind == "standard output":
            return open_sink("-", overwrite=False, remuxer=REMUXER)
        sink = open_sink(str(self._pipe if self._reader is not None else self._path), overwrite=True, remuxer=REMUXER)
        if kind not in ("target", "fan-out"):
            return sink
        target = LocalTarget(sink, lambda text: None)
        return FanOut([target], "retry", lambda text: None) if kind == "fan-out" else target

    def read(self) -> bytes:
        """After ``close``: everything that arrived."""
        if self._reader is None:
            return self._path.read_bytes() if self._path.exists() else b""
        data = b""
        while more := os.read(self._reader, 1 << 16):
            data += more
        return data

    def drop_stdout(self) -> None:
        """So that the reader sees the end."""
        if self._stdout:
            self._stdout.close()

    def release(self) -> None:
        self.drop_stdout()
        if self._reader is not None:
            os.close(self._reader)


@pytest.fixture
def make_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Case]]:
    made: list[Case] = []

    def make(kind: str) -> Case:
        made.append(Case(kind, tmp_path, monkeypatch))
        return made[-1]

    yield make
    for case in made:
        case.release()


@pytest.mark.parametrize("kind", KINDS)
def test_every_byte_arrives_in_order(make_case: Callable[[str], Case], kind: str) -> None:
    case = make_case(kind)
    case.sink.begin(INIT_SEGMENT)
    for fragment in (*FRAGMENTS, TRAILER):
        case.sink.write(fragment)
    case.sink.close(is_whole=True, is_final=True)
    case.drop_stdout()
    assert case.read() == b"".join(part.data for part in (INIT_SEGMENT, *FRAGMENTS, TRAILER))
    assert case.sink.where


@pytest.mark.parametrize("kind", KINDS)
def test_a_sink_that_never_began_can_be_closed(make_case: Callable[[str], Case], kind: str) -> None:
    case = make_case(kind)
    case.sink.cancel()
    case.sink.close(is_whole=False, is_final=False)
    case.drop_stdout()
    assert case.read() == (b"old" if kind == "replaced file" else b"")


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_taken_before_an_abort_is_whole(make_case: Callable[[str], Case], kind: str) -> None:
    """A prefix of the stream that ends with a fragment, or nothing."""
    case = make_case(kind)
    case.sink.begin(INIT_SEGMENT)
    for fragment in FRAGMENTS:
        case.sink.write(fragment)
    case.sink.cancel()
    case.sink.close(is_whole=False, is_final=False)
    case.drop_stdout()
    ends = [b"".join(part.data for part in (INIT_SEGMENT, *FRAGMENTS)[:count]) for count in range(5)]
    assert case.read() in ([b"old"] if kind == "replaced file" else ends)


@pytest.mark.parametrize("kind", WAITING_KINDS)
def test_cancel_frees_a_sink_that_waits_for_its_reader(make_case: Callable[[str], Case], kind: str) -> None:
    case = make_case(kind)
    case.sink.begin(INIT_SEGMENT)
    timer = threading.Timer(0.2, case.sink.cancel)
    timer.start()
    with nullcontext() if kind == "fan-out" else pytest.raises(Aborted):  # a fan-out only queues it
        case.sink.write(LARGE)
    timer.join()
    case.sink.close(is_whole=False, is_final=False)
