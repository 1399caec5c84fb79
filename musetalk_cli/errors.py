"""What can go wrong, and the exit code each failure ends with."""

from __future__ import annotations

# What to do about a damaged file; of one that `musetalk models download` brought, commands say how it comes again.
ANOTHER_COPY = "put a whole copy of it in its place"


class MuseTalkError(Exception):
    """A failure to tell the user about: what went wrong, with what, and (``hint``) what to do next."""

    exit_code = 1

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


class StageError(MuseTalkError):
    """A bug inside a stage: the original exception is its cause."""
