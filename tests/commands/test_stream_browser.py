"""A browser plays the stream while it is made."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fixtures.browser import play_in_chromium
from fixtures.media import write_wav


def run_stream(voice: Path) -> Iterator[bytes]:
    """The command's output, as it comes."""
    command = [sys.executable, "-m", "musetalk_cli", "stream", "-i", str(voice), "--size", "96", "--block", "0.4", "-q"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout
        try:
            while data := child.stdout.read1(1 << 16):  # type: ignore[attr-defined]
                yield data
        finally:
            child.kill()


@pytest.mark.needs("chromium")
def test_chromium_plays_it_to_the_end(tmp_path: Path) -> None:
    hum = (6_000 * np.sin(2 * np.pi * 150 * np.arange(4 * 48_000) / 48_000)).astype(np.int16)[:, None]
    voice = write_wav(tmp_path / "hum.wav", hum)
    reports = play_in_chromium(lambda: run_stream(voice), tmp_path / "profile")
    times, last = [report["time"] for report in reports], reports[-1]
    assert last["errors"] == []
    assert (last["width"], last["frames"]) == (96, 100)
    assert times == sorted(times)
    assert len(set(times)) > 5, "it advanced while the stream was being made"
    assert times[-1] == pytest.approx(4.0, abs=0.1)
