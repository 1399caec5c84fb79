"""Where the video goes: a file or standard output. A sink takes the encoder's bytes as they come."""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path
from typing import Protocol

from musetalk_cli.engine.fragments import FragmentCounter
from musetalk_cli.errors import SinkError

STDOUT = "-"
SUFFIXES = (".mp4", ".m4v")


class Sink(Protocol):
    """A destination for one fragmented MP4."""

    name: str

    def write(self, data: bytes) -> None:
        """Take bytes. Raises SinkError, or BrokenPipeError when the reader has gone."""

    def close(self, *, is_complete: bool) -> None:
        """End the output; ``is_complete`` says whether the video came to its proper end. May raise SinkError."""


def open_sink(destination: str, *, overwrite: bool) -> Sink:
    """Check a destination and make its sink. Nothing is created before the first bytes are there.

    Raises SinkError.
    """
    if destination == STDOUT:
        return StdoutSink()
    path = Path(destination)
    if path.is_dir():
        raise SinkError(f"{destination} is a folder", hint="name a file in it, such as talk.mp4")
    if path.exists() and not path.is_file():
        return FileSink(path, path, is_new=False)  # a device or a named pipe is written to as it is
    if path.suffix.lower() not in SUFFIXES:
        raise SinkError(f"cannot write '{path.suffix}' files, only MP4: {destination}", hint="name it .mp4")
    if path.exists() and not overwrite:
        raise SinkError(f"{destination} exists already", hint="give another name with -o, or --overwrite")
    if not path.parent.is_dir():
        raise SinkError(f"there is no folder {path.parent}", hint="create it first, or choose another with -o")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise SinkError(f"no permission to write {destination}", hint="choose another place with -o")
    # An existing file is replaced only once the new one is whole.
    return FileSink(path, path.with_name(path.name + ".part") if path.exists() else path, is_new=not path.exists())


class StdoutSink:
    """Standard output, binary and unbuffered."""

    name = "standard output"

    def __init__(self) -> None:
        if sys.stdout.isatty():
            raise SinkError("standard output is a terminal", hint="pipe it to a player: … -o - | ffplay -")
        self._fd = sys.stdout.fileno()

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except BrokenPipeError:
                raise
            except OSError as error:
                raise SinkError(f"cannot write to standard output: {error.strerror}") from error

    def close(self, *, is_complete: bool) -> None:
        pass


class FileSink:
    """A file, created with the first bytes. A video that breaks off is cut behind its last whole fragment, so that
    it plays; if there is none, nothing stays behind."""

    def __init__(self, path: Path, working: Path, *, is_new: bool) -> None:
        self.name = str(path)
        self._path = path
        self._working = working
        self._is_new = is_new
        self._fd: int | None = None
        self._fragments = FragmentCounter()

    def write(self, data: bytes) -> None:
        try:
            if self._fd is None:
                self._fd = self._create()
            view = memoryview(data)
            while view:
                written = os.write(self._fd, view)
                self._fragments.feed(bytes(view[:written]))
                view = view[written:]
        except BrokenPipeError:
            raise
        except OSError as error:
            raise self._explain(error) from error

    def close(self, *, is_complete: bool) -> None:
        if self._fd is None:
            return
        fd, self._fd = self._fd, None
        is_regular = stat.S_ISREG(os.fstat(fd).st_mode)
        try:
            if is_regular and not is_complete:
                os.ftruncate(fd, self._fragments.playable_bytes)
        finally:
            os.close(fd)
        if not is_regular:
            return
        if is_complete and self._working != self._path:
            self._working.replace(self._path)
        elif not is_complete and not self._fragments.num_fragments:
            self._working.unlink(missing_ok=True)

    @property
    def leftover(self) -> str | None:
        """After an incomplete end: the file that holds what can be played, if any."""
        return str(self._working) if self._fragments.num_fragments else None

    def _create(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | (os.O_EXCL if self._is_new else os.O_TRUNC)
        return os.open(self._working, flags, 0o666)

    def _explain(self, error: OSError) -> SinkError:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        hint = "free some space, or choose another place with -o" if full else "choose another place with -o"
        return SinkError(f"cannot write {self._working}: {(error.strerror or str(error)).lower()}", hint=hint)
