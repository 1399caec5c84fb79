"""Each mouth shape looks as it did. See fixtures/golden_faces.py for how the sheets are made again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import pytest

from fixtures.golden_faces import SHEETS, draw_sheet, read_sheet
from fixtures.native_kernel import native_kernel, numpy_alone

# Builds of OpenCV and NumPy for other processors, and their oldest versions (4.9 and 1.26: 4 levels, .024), round
# differently, by a level here and there. So does the native kernel.
MAX_LEVELS, MEAN_LEVELS = 5, 0.03


@pytest.mark.parametrize("kernel", [native_kernel, numpy_alone])
@pytest.mark.parametrize("name", SHEETS)
def test_faces_are_drawn_as_before(name: str, kernel: Callable[[], AbstractContextManager[None]]) -> None:
    with kernel():
        drawn = draw_sheet(name)
    expected = read_sheet(name)
    assert drawn.shape == expected.shape
    away = np.abs(drawn.astype(int) - expected)
    assert away.mean() <= MEAN_LEVELS
    assert away.max() <= MAX_LEVELS
