"""The log file to attach to a bug report: what ran, how long it took, and how it failed. Off unless asked for.

The engine writes to the loggers of the standard library below ``musetalk_cli``; they have no handler until
``start_log``. Every line loses its secrets and the user's folders on the way to the file.
"""

from __future__ import annotations

import logging
import os
import shlex
import sys
import tempfile
import time
from pathlib import Path

from musetalk_cli.engine.types.addresses import hide_secrets
from musetalk_cli.errors import system_words
from musetalk_cli.support.redaction import find_secrets, redact
from musetalk_cli.support.versions import describe_version, library_version
from musetalk_cli.system.folders import expand

VARIABLE = "MUSETALK_LOG"
CHOOSE_NAME = "1"  # the value of the variable that lets us choose the file's name
FIRST_LINE = "musetalk log"
LIBRARIES = ("numpy", "opencv-python-headless", "imageio-ffmpeg", "av", "sounddevice", "torch", "typer", "pydantic")
LINE = "%(asctime)s.%(msecs)03d %(process)d %(threadName)s %(levelname)s %(name)s: %(message)s"

log = logging.getLogger(__name__)


class LogError(Exception):
    """The log cannot be written; why."""


def start_log(name: str, argv: list[str]) -> Path:
    """Write everything that the package logs to a file from now on, in this process and its children.

    Args:
        name: the file; ``1`` or nothing chooses a name in the current folder, or where that is not writable, in the
            system's folder for temporary files. A log that exists is continued.
        argv: the command, whose keys and passwords are recognised wherever they appear.

    Returns:
        The file.

    Raises:
        LogError: the file cannot be written, or is no log.
    """
    path = expand(name).absolute() if name not in ("", CHOOSE_NAME) else choose_path()
    handler = _open(path, argv)
    ours = logging.getLogger("musetalk_cli")
    ours.setLevel(logging.DEBUG)
    ours.addHandler(handler)
    ours.addHandler(WarningsAsBefore(logging.WARNING))
    ours.propagate = False
    os.environ[VARIABLE] = str(path)
    log.info("musetalk %s, Python %s, %s", describe_version(), sys.version.split()[0], sys.platform)
    log.info("libraries: %s", ", ".join(f"{name} {found}" for name in LIBRARIES if (found := library_version(name))))
    log.info("variables: %s", ", ".join(sorted(name for name in os.environ if name.startswith("MUSETALK_"))))
    # Hidden before it is quoted, which would change it.
    log.info("command: %s", shlex.join(hide_secrets(word, find_secrets([word])) for word in argv))
    return path


def choose_path() -> Path:
    """A name with the time in it, in the current folder, or where nothing can be written there, among temporary files.

    Raises LogError where there is no place for it.
    """
    name = f"musetalk-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    try:
        folder = Path.cwd()
        if os.access(folder, os.W_OK):
            return folder / name
    except OSError:  # it was deleted
        pass
    try:
        return Path(tempfile.gettempdir()) / name
    except OSError as error:
        raise LogError(f"there is no folder for temporary files: {system_words(error)}") from None


def _open(path: Path, argv: list[str]) -> logging.Handler:
    try:
        if path.is_fifo():  # opened as below, it waits for a reader
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        if path.exists() and path.stat().st_size:
            with path.open("rb") as file:
                if file.read(len(FIRST_LINE)) != FIRST_LINE.encode():
                    raise LogError(f"{path} exists and is no log of musetalk")
        else:
            path.write_text(f"{FIRST_LINE}\n", encoding="utf-8")
        handler = LogHandler(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise LogError(f"{path}: {system_words(error)}") from None
    handler.setFormatter(RedactingFormatter(argv))
    return handler


class LogHandler(logging.FileHandler):
    """Writes to a file, and gives up lines that cannot be written: a full disk is no reason to end a command."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is that of logging
        """Drop the line."""


class WarningsAsBefore(logging.Handler):
    """Hands warnings to whoever had them before: the handlers of the process, else Python's, which prints them."""

    def emit(self, record: logging.LogRecord) -> None:
        above = logging.getLogger()
        if above.handlers:
            above.callHandlers(record)
        elif logging.lastResort is not None:
            logging.lastResort.handle(record)


class RedactingFormatter(logging.Formatter):
    """Lines without secrets and without the user's folders; ``argv``: the command, whose secrets are recognised."""

    def __init__(self, argv: list[str]) -> None:
        super().__init__(LINE, "%Y-%m-%d %H:%M:%S")
        self._secrets = find_secrets(argv)

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record), self._secrets)
