"""Where frames stand in the audio."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from musetalk_cli.engine.types.audio import audio_at, cut_padded, frame_at


def test_frames_are_counted_to_the_nearest_halves_up() -> None:
    rate = Fraction(25)
    assert [frame_at(Fraction(ms, 1000), rate) for ms in (0, 19, 20, 59, 60, 1000, 5300)] == [0, 0, 1, 1, 2, 25, 133]


def test_a_frame_begins_with_the_sample_that_it_has_reached() -> None:
    assert [audio_at(frame, Fraction(25)) for frame in (0, 1, 50)] == [0, 1_920, 96_000]
    assert [audio_at(frame, Fraction(30_000, 1001)) for frame in (1, 2, 3, 30_000)] == [1_601, 3_203, 4_804, 48_048_000]


@pytest.mark.parametrize(
    ("begin", "length", "expected"),
    [
        (1, 2, [2, 3]),
        (0, 4, [1, 2, 3, 4]),
        (-2, 4, [0, 0, 1, 2]),
        (3, 3, [4, 0, 0]),
        (-1, 6, [0, 1, 2, 3, 4, 0]),
        (4, 2, [0, 0]),
        (9, 2, [0, 0]),
        (-5, 3, [0, 0, 0]),
        (2, 0, []),
    ],
)
def test_a_cut_reaches_beyond_the_samples(begin: int, length: int, expected: list[int]) -> None:
    cut = cut_padded(np.array([1, 2, 3, 4], np.float32), begin, length)
    assert cut.tolist() == expected
    assert cut.dtype == np.float32
