"""Where the video goes: a file or standard output. A sink takes the encoder's bytes as they come."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from musetalk_cli.engine.outputs.fragments import FragmentCounter
from musetalk_cli.engine.runtime.stage import Aborted
from musetalk_cli.errors import SinkError

STDOUT = "-"
SUFFIXES = (".mp4", ".m4v")
# A pipe that is ready takes at least this much without blocking (POSIX's least PIPE_BUF is 512, Linux's 4096).
PIPE_STEP_BYTES = min(select.PIPE_BUF, 4096)
WAKE_S = 0.1  # how long an abort may go unnoticed by a sink that waits


class Sink(Protocol):
    """A destination for one fragmented MP4."""

    name: str

    def write(self, data: bytes) -> None:
        """Take bytes. Raises SinkError, BrokenPipeError when the reader has gone, or Aborted after ``cancel``."""

    def cancel(self) -> None:
        """Let a ``write`` that waits for its reader end; may be called from any thread."""

    def close(self, *, is_whole: bool, is_final: bool) -> None:
        """End the output. ``is_whole``: the MP4 came to its end, so nothing has to be cut off behind the last whole
        fragment. ``is_final``: nor was the run interrupted, so an older file may be replaced. May raise SinkError."""

    @property
    def where(self) -> str | None:
        """After ``close``: where what can be played lies; None when nothing does."""


def open_sink(destination: str, *, overwrite: bool) -> Sink:
    """Check a destination and make its sink. Nothing is created before the first bytes are there.

    Raises SinkError.
    """
    if not destination:
        raise SinkError("the output has no name", hint="name a file with -o, or - for standard output")
    if destination in (STDOUT, "/dev/stdout"):
        return StdoutSink()
    try:
        return _open_path(destination, Path(destination).resolve(), overwrite)
    except (
        OSError,
        RuntimeError,
        ValueError,
    ) as error:  # a name too long, a loop of links, a folder without permission
        raise SinkError(f"cannot write {destination}: {getattr(error, 'strerror', None) or error}") from None


def _open_path(destination: str, path: Path, overwrite: bool) -> Sink:
    if path.is_dir():
        raise SinkError(f"{destination} is a folder", hint="name a file in it, such as talk.mp4")
    if path.exists() and not path.is_file():
        return PipeSink(destination)
    if path.suffix.lower() not in SUFFIXES:
        raise SinkError(f"cannot write {destination}: only MP4 files can be made", hint="name it .mp4")
    if path.exists() and not overwrite:
        raise SinkError(f"{destination} exists already", hint="give another name with -o, or --overwrite")
    if not path.parent.is_dir():
        # Where a link that leads nowhere leads.
        parent = path.parent if Path(destination).is_symlink() else Path(destination).parent
        raise SinkError(f"there is no folder {parent}", hint="create it first, or choose another")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise SinkError(f"no permission to write {destination}", hint="choose another place with -o")
    return FileSink(destination, path)


class StdoutSink:
    """Standard output, binary and unbuffered."""

    name = "standard output"

    def __init__(self) -> None:
        if sys.stdout is None or sys.stdout.closed:
            raise SinkError("standard output is closed", hint="name a file with -o")
        if sys.stdout.isatty():
            raise SinkError("standard output is a terminal", hint="pipe it to a player: … -o - | ffplay -")
        self._fd = sys.stdout.fileno()
        self._waits = not stat.S_ISREG(os.fstat(self._fd).st_mode)
        self.is_cancelled = False

    def write(self, data: bytes) -> None:
        with _explained(self.name):
            write_patiently(self._fd, data, self) if self._waits else _write_all(self._fd, data)

    def cancel(self) -> None:
        self.is_cancelled = True

    def close(self, *, is_whole: bool, is_final: bool) -> None:
        pass

    @property
    def where(self) -> str | None:
        return self.name


class PipeSink:
    """A named pipe or a device, written to as it is; a pipe waits for its reader."""

    def __init__(self, destination: str) -> None:
        self.name = destination
        self.is_cancelled = False
        self._fd: int | None = None

    def write(self, data: bytes) -> None:
        with _explained(self.name):
            if self._fd is None:
                self._fd = self._open()
            write_patiently(self._fd, data, self)

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
                return os.open(self.name, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                if error.errno != errno.ENXIO:  # a pipe that nobody reads yet
                    raise
                time.sleep(WAKE_S)
        raise Aborted(self.name)


class FileSink:
    """A file, created with the first bytes. An older file is replaced only by a video that came to its end; one that
    breaks off is cut behind its last whole fragment, so that it plays, and if there is none, nothing stays behind."""

    def __init__(self, destination: str, path: Path) -> None:
        self.name = destination
        self.where: str | None = None
        self._path = path
        self._old_mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else None
        self._working = path
        self._fd: int | None = None
        self._fragments = FragmentCounter()

    def write(self, data: bytes) -> None:
        with _explained(self.name):
            if self._fd is None:
                self._fd = self._create()
            view = memoryview(data)
            while view:
                written = os.write(self._fd, view)
                self._fragments.feed(bytes(view[:written]))
                view = view[written:]

    def cancel(self) -> None:
        pass  # a file never makes us wait for a reader

    def close(self, *, is_whole: bool, is_final: bool) -> None:
        if self._fd is None:
            return
        fd, self._fd = self._fd, None
        with _explained(self.name):
            try:
                if not is_whole:
                    os.ftruncate(fd, self._fragments.playable_bytes)
            finally:
                os.close(fd)
            self._settle(is_final)

    def _settle(self, is_final: bool) -> None:
        """Put the file where it belongs, and note where that is."""
        if is_final and self._working != self._path:
            self._working.replace(self._path)
            self._working = self._path
        if self._fragments.num_fragments:
            is_in_place = self._working == self._path
            self.where = self.name if is_in_place else str(Path(self.name).with_name(self._working.name))
        else:
            self._working.unlink(missing_ok=True)

    def _create(self) -> int:
        """A new file under the wanted name or, beside an older one, under a free name of its own."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        if self._old_mode is None:
            return os.open(self._path, flags, 0o666)
        for number in range(1, 1000):
            self._working = self._path.with_name(f"{self._path.stem}.part{number}{self._path.suffix}")
            with contextlib.suppress(FileExistsError):
                fd = os.open(self._working, flags, 0o666)
                os.fchmod(fd, self._old_mode)
                return fd
        raise OSError(errno.EEXIST, "too many unfinished files beside it")


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
        if select.select([], [fd], [], WAKE_S)[1]:
            with contextlib.suppress(BlockingIOError):
                view = view[os.write(fd, view[:PIPE_STEP_BYTES]) :]


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    """Tell an OSError in the body as a SinkError; a reader that has gone is no error and passes."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        hint = "free some space, or choose another place with -o" if full else "choose another place with -o"
        raise SinkError(f"cannot write {name}: {(error.strerror or str(error)).lower()}", hint=hint) from error
