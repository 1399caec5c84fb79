"""A browser plays what the encoder in this process makes, fragment by fragment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest

from fixtures.browser import play_in_chromium
from fixtures.streams import WIDTH, cut_audio, draw_number, encoder_settings, sweep
from musetalk_cli.engine.video.inprocess_encoder import InProcessEncoder

if not os.environ.get("CI"):
    pytest.importorskip("av", reason="needs PyAV, of the extra 'session'")

NUM_FRAMES = 75
RATE = Fraction(25)


def make_stream() -> Iterator[bytes]:
    """The init segment, then each fragment as it is made."""
    encoder = InProcessEncoder(encoder_settings(RATE, num_channels=2))
    yield encoder.init_segment.data
    for number, audio in enumerate(cut_audio(sweep(NUM_FRAMES * 1_920, 2), RATE, NUM_FRAMES)):
        yield from (fragment.data for fragment in encoder.encode([draw_number(number)], audio))
    yield from (fragment.data for fragment in encoder.finish())
    encoder.close()


@pytest.mark.needs("chromium")
def test_chromium_plays_it_to_the_end(tmp_path: Path) -> None:
    reports = play_in_chromium(make_stream, tmp_path / "profile")
    times = [report["time"] for report in reports]
    assert reports[-1]["errors"] == []
    assert (reports[-1]["width"], reports[-1]["frames"]) == (WIDTH, NUM_FRAMES)
    assert times == sorted(times)
    assert len(set(times)) > 5, "it advanced step by step"
    assert times[-1] == pytest.approx(3.0, abs=0.05)
