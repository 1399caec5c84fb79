"""The width of mouth shapes as people show it: less spread, wider when open, narrower where the lips meet."""

from __future__ import annotations

import numpy as np
import pytest

from musetalk_cli.engine.models.warp.audio.width_map import WidthMap

MAP = WidthMap(spread=0.5, opens=0.2, deepens=1.0, closes=0.1, amplitude=1.0)


@pytest.mark.parametrize(
    ("gap", "width", "bilabial", "labiodental", "wanted"),
    [
        (0.0, 0.8, 0.0, 0.0, 0.4),  # half of the spreading
        (0.0, -0.6, 0.0, 0.0, -0.6),  # rounding as it is
        (0.5, 0.0, 0.0, 0.0, 0.1),  # an open mouth is wider
        (0.5, -0.4, 0.0, 0.0, -0.5),  # and more rounded
        (0.5, 0.4, 0.0, 0.0, 0.5),  # or more spread
        (0.5, 0.4, 1.0, 0.0, 0.1),  # shut, it has no gap
        (0.4, 0.0, 0.0, 1.0, -0.08),  # lip and teeth leave a quarter of it
        (1.0, -1.0, 0.0, 0.0, -1.0),  # never beyond the narrowest
        (1.0, 1.0, 0.0, 0.0, 1.0),
    ],
)
def test_width(gap: float, width: float, bilabial: float, labiodental: float, wanted: float) -> None:
    step = np.array([[gap, 0.3, width, bilabial, labiodental, 0.0]], np.float32)
    found = MAP.width(step)
    assert found.dtype == np.float32
    assert found == pytest.approx([wanted], abs=1e-6)


def test_the_amplitude_enlarges_all_of_it() -> None:
    step = np.array([[0.2, 0.3, -0.3, 0.1, 0.2, 0.0]], np.float32)
    assert WidthMap(amplitude=1.3).width(step) == pytest.approx(1.3 * WidthMap(amplitude=1.0).width(step))


def test_silence_keeps_its_width() -> None:
    assert not WidthMap().width(np.zeros((3, 6), np.float32)).any()
