"""Counts and sizes, as the last line of every command has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from musetalk_cli.ui.figures import frames_text, size_text


@pytest.mark.parametrize(("number", "text"), [(0, "0 frames"), (1, "1 frame"), (2, "2 frames")])
def test_one_frame_is_no_frames(number: int, text: str) -> None:
    assert frames_text(number) == text


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [(0, "0.0 MB"), (4_990, "5.0 kB"), (99_900, "99.9 kB"), (100_000, "0.1 MB"), (4.1e6, "4.1 MB")],
)
def test_what_is_small_is_not_nothing(num_bytes: int, text: str) -> None:
    assert size_text(num_bytes) == text


def test_a_render_of_one_frame_says_so(run_cli: Any, tone_wav: Any, tmp_path: Path) -> None:
    voice = tone_wav(0.01)
    done = run_cli("render", voice, "--size", "64", "-o", tmp_path / "a.mp4")
    assert done.stderr.decode().startswith("1 frame, 0.0 s in ")
    assert " kB → " in done.stderr.decode()
