"""What a user is told when the fault is ours, and the file that goes with it."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from pathlib import Path

from musetalk_cli.support.log_file import VARIABLE, LogError, start_log
from musetalk_cli.support.versions import report_address

log = logging.getLogger(__name__)


def describe_bug(error: BaseException, message: str) -> str:
    """One line for the user: what happened, the file with the traceback, and where to report it.

    Where no log is written, a file is made now: it has the versions, the command and the traceback.

    Args:
        error: what was raised.
        message: what happened, in a few words.
    """
    path = _write(error)
    address = report_address()
    where = f" at {address}" if address else ""
    if path is None:
        return f"{message}; this is a bug in musetalk: please report it{where} (MUSETALK_TRACEBACK=1 shows where it is)"
    return f"{message}; this is a bug in musetalk: please report it{where} and attach {path}"


def _write(error: BaseException) -> Path | None:
    """The file that now has the traceback; None where none can be written."""
    named = os.environ.get(VARIABLE, "")
    try:
        if not logging.getLogger("musetalk_cli").handlers:
            descriptor, path = tempfile.mkstemp(prefix="musetalk-bug-", suffix=".log")
            os.close(descriptor)
            named = str(start_log(path, sys.argv))
    except (OSError, LogError):
        return None
    log.info("a bug", exc_info=error)  # a warning would be printed, too
    return Path(named)
