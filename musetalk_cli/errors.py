"""What can go wrong, and the exit code each failure ends with."""

from __future__ import annotations

import errno
import os

# What to do about a damaged file; of one that `musetalk models download` brought, commands say how it comes again.
ANOTHER_COPY = "put a whole copy of it in its place"


class MuseTalkError(Exception):
    """A failure to tell the user about: what went wrong, with what, and (``hint``) what to do next.

    ``place``: where a settings file has set what is wrong; the message begins with it.
    """

    exit_code = 1
    place = ""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ConfigError(MuseTalkError):
    """A configuration file, key or value that is wrong."""

    exit_code = 2


class SourceError(MuseTalkError):
    """The audio cannot be opened, decoded or read. ``is_at_start``: nothing of it had been read."""

    is_at_start = False


class AvatarError(MuseTalkError):
    """The avatar is unknown, damaged or cannot be used."""


class ModelError(MuseTalkError):
    """A lip-sync model is missing or its files are damaged."""


class EncoderError(MuseTalkError):
    """ffmpeg is missing, refused to start or stopped before its time."""


class SinkError(MuseTalkError):
    """The output cannot be created or written."""


class SessionError(MuseTalkError):
    """A session was used in a way that it cannot obey: closed already, or given what is not audio."""


class QueueFullError(SessionError):
    """More voice was pushed than may wait."""


class ServeError(MuseTalkError):
    """The server cannot start."""


class ClusterError(MuseTalkError):
    """The cluster cannot be reached, or its machines cannot do what is asked."""


class StageError(MuseTalkError):
    """A bug inside a stage: the original exception is its cause."""


class MachineError(MuseTalkError):
    """The machine refused what any run needs: memory, threads, descriptors, its disk."""


_MEMORY = "free some memory, or choose a smaller size"
_SPACE = "free some space"
_RIGHTS = "check who owns it, and its permissions"
_PROCESSES = "end other programs, or raise the limit of processes (ulimit -u)"
_DISK = "check the disk"
_FILES = "close other programs, or raise the limit of open files (ulimit -n)"
_INSTALL = "install musetalk again in a fresh virtual environment"
_HINTS = {
    errno.EMFILE: _FILES,
    errno.ENFILE: _FILES,
    errno.ENOMEM: _MEMORY,
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EAGAIN: _PROCESSES,
    errno.EIO: _DISK,
    errno.EROFS: _DISK,
    errno.ESPIPE: "name a regular file",
    errno.ENOLCK: _DISK,
    errno.EFBIG: "raise the limit of file sizes (ulimit -f)",
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EINTR: "start it again",
    errno.EBUSY: "close the program that uses it",
    errno.ETXTBSY: "close the program that writes it",
}


def system_words(error: BaseException) -> str:
    """What the system says of an error, within a sentence: ``no such file or directory``."""
    return _within(getattr(error, "strerror", None) or str(error))


def _within(words: str) -> str:
    """Without the capital of a sentence; those of names and abbreviations stay."""
    return words[:1].lower() + words[1:] if words[1:2].islower() or words[1:2] == " " else words


def as_machine_error(error: BaseException) -> MachineError | None:
    """What an error that nobody expected says of the machine; None where it may be a bug of ours."""
    # Libraries in C whose allocation fails do not always say so; Python notices that they have failed.
    is_unsaid = isinstance(error, SystemError) and "without" in str(error) and "exception" in str(error)
    if isinstance(error, MemoryError) or is_unsaid:
        return MachineError("the memory is not enough", hint=_MEMORY)
    if isinstance(error, ImportError) and "failed to map segment" in str(error):
        return MachineError("the memory is not enough to load a library", hint=_MEMORY)
    if isinstance(error, ModuleNotFoundError):
        return MachineError(f"a part of the program cannot be loaded: {error}", hint=_INSTALL)
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return MachineError("the system starts no more threads", hint=_PROCESSES)
    if not isinstance(error, OSError):
        return _as_system_words(str(error))
    if error.errno not in _HINTS:
        return None
    what = f": {error.filename}" if error.filename else ""
    return MachineError(f"the system reports: {system_words(error)}{what}", hint=_HINTS[error.errno])


def _as_system_words(text: str) -> MachineError | None:
    """For libraries that put what the system says into errors of their own."""
    said = {_within(os.strerror(number)): hint for number, hint in _HINTS.items()}
    found = next((words for words in said if text.lower().endswith(words.lower())), None)
    return MachineError(f"the system reports: {found}", hint=said[found]) if found else None
