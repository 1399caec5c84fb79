"""``--report``: a JSON line for each item that came to an end, in a file or on standard output."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from musetalk_cli.app.batch.item import ItemResult
from musetalk_cli.app.running.stats_file import is_stdout
from musetalk_cli.errors import SinkError, system_words
from musetalk_cli.system.locks import lock_file

FIRST_KEY = b'{"input": '  # that a report begins with
Records = Mapping[str, Mapping[str, Any]]  # the last line of each output


class ReportFile:
    """Lines that are on the disk when an item counts as done.

    An older report goes on with ``resumes``, is replaced with ``overwrite``, and is refused otherwise. Any other file
    is. One process at a time writes a report. Raises SinkError.
    """

    def __init__(self, path: Path, *, resumes: bool, overwrite: bool) -> None:
        self._name = "standard output" if is_stdout(path) else str(path)
        self._file: IO[bytes] | None = None
        self._lock = contextlib.ExitStack()
        if is_stdout(path):
            return
        if path.exists() and not (resumes or overwrite):
            hint = "name another file with --report, go on with --resume, or --overwrite"
            raise SinkError(f"{path} exists already", hint=hint)
        try:
            _check_is_report(path)
            self._file = path.open("ab")
            self._lock.enter_context(lock_file(self._file))
            if not resumes:
                self._file.truncate(0)
            elif not _ends_line(path):  # the process was killed while it wrote
                self._file.write(b"\n")
                self._file.flush()
        except BlockingIOError:
            self.close()
            hint = "wait for its end, or name another file"
            raise SinkError(f"the report {path} is in use by another run", hint=hint) from None
        except OSError as error:
            self.close()
            reason = system_words(error)
            raise SinkError(f"cannot write the report {path}: {reason}", hint="name a file in a folder") from None

    def add(self, result: ItemResult) -> None:
        """Write a line. Raises SinkError."""
        data = f"{json.dumps(result.as_record(), ensure_ascii=False)}\n".encode(errors="replace")
        try:
            file = self._file or sys.stdout.buffer
            file.write(data)
            file.flush()
        except OSError as error:
            reason = system_words(error)
            raise SinkError(f"cannot write the report to {self._name}: {reason}") from None

    def close(self) -> None:
        self._lock.close()
        if self._file:
            self._file.close()


def read_report(path: Path) -> Records:
    """What an earlier run says of each output; nothing where there is no report. Lines that broke off are left out.

    Raises SinkError when it cannot be read.
    """
    try:
        lines = path.read_bytes().splitlines() if path.exists() and not is_stdout(path) else []
    except OSError as error:
        raise SinkError(f"cannot read the report {path}: {system_words(error)}") from None
    records = {}
    for line in lines:
        with contextlib.suppress(ValueError):
            record = json.loads(line)
            if isinstance(record, dict) and isinstance(record.get("output"), str):
                records[record["output"]] = record
    return records


def _check_is_report(path: Path) -> None:
    """Raise SinkError for a file that is something else, such as a voice or a manifest, and would be lost."""
    if path.is_file():
        with path.open("rb") as file:
            head = file.read(len(FIRST_KEY))
        if not FIRST_KEY.startswith(head):
            raise SinkError(f"{path} exists and is no report", hint="name another file with --report")


def _ends_line(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        return file.read(1) in (b"", b"\n")
