"""The file of the statistics: what is replaced, and what never is."""

from __future__ import annotations

from pathlib import Path

import pytest

from musetalk_cli.app.running.stats_file import open_stats
from musetalk_cli.errors import SinkError


def ignore(text: str) -> None:
    """Nothing is told."""


@pytest.mark.parametrize("before", ['{"event": "tick", "elapsed_s": 1}\n', '{"ev', ""])
def test_older_statistics_are_replaced_only_if_that_is_asked_for(tmp_path: Path, before: str) -> None:
    path = tmp_path / "stats.jsonl"
    path.write_text(before)
    with pytest.raises(SinkError, match="exists already"):
        open_stats(path, ignore, overwrite=False)
    assert open_stats(path, ignore, overwrite=True) is not None


@pytest.mark.parametrize("before", ["avatar: nora\n", '{"voice": "a.wav"}\n', "\x89PNG", "{}"])
def test_what_holds_no_statistics_is_never_replaced(tmp_path: Path, before: str) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(before)
    with pytest.raises(SinkError, match=r"settings.yaml exists and holds no statistics"):
        open_stats(path, ignore, overwrite=True)
