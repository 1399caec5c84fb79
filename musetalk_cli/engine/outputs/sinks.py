"""Where the video goes: a file, a pipe or standard output."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from musetalk_cli.engine.outputs.fragments import Fragment, InitSegment
from musetalk_cli.engine.runtime.files import fit_name
from musetalk_cli.engine.runtime.stage import Aborted
from musetalk_cli.errors import SinkError, system_words
from musetalk_cli.option_names import option
from musetalk_cli.system import pipes

BINARY = getattr(os, "O_BINARY", 0)  # without it, Windows writes two bytes for some
WAKE_S = 0.1  # how long an abort may go unnoticed by a sink that waits


class Sink(Protocol):
    """A destination for one fragmented MP4. ``begin``, ``write`` and ``close`` come from one thread."""

    name: str

    def begin(self, init_segment: InitSegment) -> None:
        """Take the init segment, once, before all fragments; a pipe waits for its reader. Raises as ``write`` does."""

    def write(self, fragment: Fragment) -> None:
        """Take a fragment. Raises SinkError, BrokenPipeError when the reader has gone, or Aborted after ``cancel``."""

    def cancel(self) -> None:
        """Let a ``begin`` or ``write`` that waits for its reader end; may be called from any thread."""

    def close(self, *, is_whole: bool, is_final: bool) -> None:
        """End the output, even one that was never begun.

        Args:
            is_whole: The MP4 came to its end and was taken to its end.
            is_final: Nor was the run interrupted, so an older file may be replaced.

        Raises:
            SinkError: It cannot be closed properly.
            Aborted: ``cancel`` came before its end.
        """

    @property
    def where(self) -> str | None:
        """After ``close``: where there is something to play; None when there is nothing."""


class StdoutSink:
    """Standard output, binary and unbuffered."""

    name = "standard output"

    def __init__(self) -> None:
        if sys.stdout is None or sys.stdout.closed:
            raise SinkError("standard output is closed", hint=f"name a file with {option('-o')}")
        if sys.stdout.isatty():
            raise SinkError("standard output is a terminal", hint="pipe it to a player: … -o - | ffplay -")
        self._fd = sys.stdout.fileno()
        self._waits = not stat.S_ISREG(os.fstat(self._fd).st_mode)
        self.is_cancelled = False

    def begin(self, init_segment: InitSegment) -> None:
        self._write(init_segment.data)

    def write(self, fragment: Fragment) -> None:
        self._write(fragment.data)

    def cancel(self) -> None:
        self.is_cancelled = True

    def close(self, *, is_whole: bool, is_final: bool) -> None:
        pass

    @property
    def where(self) -> str | None:
        return self.name

    def _write(self, data: bytes) -> None:
        with as_sink_error(self.name):
            write_patiently(self._fd, data, self) if self._waits else pipes.write_all(self._fd, data)


class PipeSink:
    """A named pipe or a device, written to as it is; a pipe waits for its reader."""

    def __init__(self, destination: str) -> None:
        self.name = destination
        self.is_cancelled = False
        self._fd: int | None = None

    def begin(self, init_segment: InitSegment) -> None:
        with as_sink_error(self.name):
            self._fd = self._open()
            write_patiently(self._fd, init_segment.data, self)

    def write(self, fragment: Fragment) -> None:
        assert self._fd is not None  # noqa: S101 - it has begun
        with as_sink_error(self.name):
            write_patiently(self._fd, fragment.data, self)

    def cancel(self) -> None:
        self.is_cancelled = True

    def close(self, *, is_whole: bool, is_final: bool) -> None:
        if self._fd is not None:
            os.close(self._fd)

    @property
    def where(self) -> str | None:
        return self.name

    def _open(self) -> int:
        while not self.is_cancelled:
            try:
                return os.open(self.name, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0) | BINARY)
            except OSError as error:
                if error.errno != errno.ENXIO:  # a pipe that nobody reads yet
                    raise
                time.sleep(WAKE_S)
        raise Aborted(self.name)


class FileSink:
    """A file, created with its first fragment: a run that is killed before leaves none. An older file is replaced only
    by a video that came to its end; one that breaks off is cut behind its last fragment, so that it plays.

    ``is_staged``: the file has its name only when it is whole, and one that breaks off is removed.
    """

    def __init__(self, destination: str, path: Path, *, is_staged: bool = False) -> None:
        self.name = destination
        self._is_staged = is_staged
        self.where: str | None = None
        self._path = path
        self._old_mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else None
        self._working = path
        self._fd: int | None = None
        self._init_segment = b""
        self._playable_bytes = 0  # up to the end of the last fragment
        self._has_fragments = False

    def begin(self, init_segment: InitSegment) -> None:
        self._init_segment = init_segment.data

    def write(self, fragment: Fragment) -> None:
        data = fragment.data
        with as_sink_error(self.name):
            if self._fd is None:
                self._fd = self._create()
                data = self._init_segment + data
                self._playable_bytes = len(self._init_segment)
            pipes.write_all(self._fd, data)
        if not fragment.is_trailer:
            self._playable_bytes += len(fragment.data)
            self._has_fragments = True

    def cancel(self) -> None:
        pass  # a file has no reader to wait for

    def close(self, *, is_whole: bool, is_final: bool) -> None:
        if self._fd is None:
            return
        fd, self._fd = self._fd, None
        with as_sink_error(self.name):
            try:
                if not is_whole and self._has_fragments:  # without one, the file goes
                    os.ftruncate(fd, self._playable_bytes)
            finally:
                os.close(fd)
            self._settle(is_final)

    def discard(self) -> None:
        """Remove what was written, once it is closed: it has nothing of what it is for."""
        has_replaced = self._old_mode is not None and self._working == self._path
        if self.where is not None and not has_replaced:
            self._working.unlink(missing_ok=True)
            self.where = None

    def _settle(self, is_final: bool) -> None:
        """Put the file where it belongs, and note where that is."""
        if is_final and self._working != self._path:
            if self._old_mode is None and self._path.exists():  # it has appeared meanwhile
                self._working.unlink(missing_ok=True)
                raise FileExistsError(errno.EEXIST, "it exists already")
            self._working.replace(self._path)
            self._working = self._path
        if self._has_fragments and (is_final or not self._is_staged):
            is_in_place = self._working == self._path
            self.where = self.name if is_in_place else str(Path(self.name).with_name(self._working.name))
        else:
            self._working.unlink(missing_ok=True)

    def _create(self) -> int:
        """A new file under the wanted name or, beside an older one, under a free name of its own."""
        for path in self._names():
            self._working = path
            with contextlib.suppress(*([] if path == self._path else [FileExistsError])):
                return self._create_as(path)
        raise OSError(errno.EEXIST, "too many unfinished files beside it")

    def _names(self) -> Iterator[Path]:
        """What the file may be called, while it is not whole."""
        if self._old_mode is None and not self._is_staged:
            yield self._path
            return
        stem = f"{'.' if self._is_staged else ''}{fit_name(self._path.stem)}"
        for number in range(1, 1000):
            yield self._path.with_name(f"{stem}.part{number}{self._path.suffix}")

    def _create_as(self, path: Path) -> int:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | BINARY, 0o666)
        try:
            if self._old_mode is not None:
                path.chmod(self._old_mode)
        except OSError:
            os.close(fd)
            path.unlink(missing_ok=True)
            raise
        return fd


def find_unfinished(path: Path) -> list[Path]:
    """What a staged FileSink for ``path`` has left beside it in a process that was killed."""
    pattern = re.compile(rf"\.{re.escape(fit_name(path.stem))}\.part\d+{re.escape(path.suffix)}")
    try:
        return [other for other in path.parent.iterdir() if pattern.fullmatch(other.name)]
    except OSError:
        return []


class NullSink:
    """For frames that are taken before they are encoded: nothing comes here."""

    name = "nowhere"
    where: str | None = None

    def begin(self, init_segment: InitSegment) -> None:
        pass

    def write(self, fragment: Fragment) -> None:
        pass

    def cancel(self) -> None:
        pass

    def close(self, *, is_whole: bool, is_final: bool) -> None:
        pass


class _Cancellable(Protocol):
    @property
    def is_cancelled(self) -> bool: ...


def write_patiently(fd: int, data: bytes, sink: _Cancellable) -> None:
    """Write to a pipe or device in steps that never block, waiting for it to be ready or the sink to be cancelled.

    Raises Aborted, BrokenPipeError or OSError.
    """
    view = memoryview(data)
    while view:
        if sink.is_cancelled:
            raise Aborted("sink")
        if pipes.wait_writable(fd, WAKE_S):
            with contextlib.suppress(BlockingIOError):
                rest = pipes.write_some(fd, view[: pipes.STEP_BYTES])
                view = view[min(len(view), pipes.STEP_BYTES) - len(rest) :]


@contextlib.contextmanager
def as_sink_error(name: str) -> Iterator[None]:
    """Turn an OSError in the body into a SinkError; a reader that has gone is no error and passes."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        elsewhere = f"choose another place with {option('-o')}"
        hint = f"free some space, or {elsewhere}" if full else elsewhere
        raise SinkError(f"cannot write {name}: {system_words(error)}", hint=hint) from error
