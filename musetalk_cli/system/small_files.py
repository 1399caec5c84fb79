"""Files that are read whole, because they are small: settings, lists, tokens."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

MAX_BYTES = 1 << 20


def read_small_file(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """A file's content, or a pipe's. Raises OSError, also for one that is longer than it can be, or endless."""
    with path.open("rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise OSError(errno.EFBIG, f"it is larger than {max_bytes >> 10} KiB", str(path))
    return data


def read_small_json(path: Path) -> Any:
    """The value in a JSON file. Raises OSError as ``read_small_file`` does, ValueError for what is no JSON, or nested
    too deeply."""
    try:
        return json.loads(read_small_file(path).decode("utf-8"))
    except RecursionError:
        raise ValueError("nested too deeply") from None
