"""The server's log on stderr: one line an event, for people or as JSON. It knows neither tokens nor sessions' IDs."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from typing import Any, Literal

LogFormat = Literal["text", "json"]
MAX_CHARACTERS = 300  # of a value
detail = logging.getLogger("musetalk_cli.serve")  # what is written only with --verbose
SECRET_PART = re.compile(r"(/v1/sessions/)[^/]+")


class Log:
    """``log("session opened", number=3)`` writes a line with the time, the level, the event and its fields."""

    def __init__(self, log_format: LogFormat) -> None:
        self._is_json = log_format == "json"

    def __call__(self, event: str, level: str = "info", **fields: Any) -> None:
        now = time.time()
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"
        known = {name: _shorten(value) for name, value in fields.items() if value is not None}
        if self._is_json:
            line = json.dumps({"time": moment, "level": level, "event": event, **known})
        else:
            said = " ".join(f"{name}={_quote(value)}" for name, value in known.items())
            line = f"{moment} {level}: {event}{' ' if said else ''}{said}"
        if level == "debug":
            detail.debug(line)
        else:
            self._write(line)

    def tell(self, line: str) -> None:
        """A notice of another part of the program."""
        self(line)

    def _write(self, line: str) -> None:
        if sys.stderr is not None:
            try:
                sys.stderr.write(line + "\n")
                sys.stderr.flush()
            except OSError:
                pass  # whoever read the log has gone


class LibraryHandler(logging.Handler):
    """What libraries log, as lines of ours; a traceback becomes a field."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        error = record.exc_info[1] if record.exc_info else None
        where = None
        if error is not None and error.__traceback__ is not None:
            last = error.__traceback__
            while last.tb_next:
                last = last.tb_next
            where = f"{last.tb_frame.f_code.co_filename}:{last.tb_lineno}"
        said = f"{type(error).__name__}: {error}" if error is not None else None
        self._log(record.getMessage().strip(), record.levelname.lower(), library=record.name, error=said, where=where)


def log_libraries(log: Log) -> None:
    """From now on warnings of the libraries go to ``log``, errors only of uvicorn: it warns of what clients do."""
    root = logging.getLogger()
    root.handlers[:] = [LibraryHandler(log)]
    for name in ("uvicorn", "uvicorn.error", "uvicorn.asgi", "websockets"):
        logging.getLogger(name).setLevel(logging.ERROR)


def is_part_of_page(path: str) -> bool:
    """Whether a browser requests a path of its own accord for a page: scripts, styles, thumbnails."""
    return bool(re.fullmatch(r"/[\w.-]+\.(js|css|svg|ico|png|webp)|/v1/avatars/[^/]+/thumbnail\.jpg", path))


def shown_path(path: str) -> str:
    """A request's path as a log may have it: whoever knows a session's ID can watch it."""
    return SECRET_PART.sub(r"\1...", path)


def _shorten(value: Any) -> Any:
    return value[:MAX_CHARACTERS] if isinstance(value, str) else value


def _quote(value: Any) -> str:
    text = str(value)
    return text if re.fullmatch(r"[\w./:@+*-]+", text, re.ASCII) else json.dumps(text)
