"""The image of the figures on the disk."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from musetalk_cli.benchmark.report import plot
from musetalk_cli.errors import SinkError


def test_an_older_image_stays_where_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_half(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[:9])
        raise OSError(errno.ENOSPC, "No space left on device")

    older = tmp_path / "bench.png"
    older.write_bytes(b"older")
    monkeypatch.setattr(plot, "draw", lambda result: np.zeros((2, 2, 3), np.uint8))
    monkeypatch.setattr(Path, "write_bytes", write_half)
    result: Any = None
    with pytest.raises(SinkError, match="no space left on device"):
        plot.write_plot(older, result)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("bench.png", b"older")]
