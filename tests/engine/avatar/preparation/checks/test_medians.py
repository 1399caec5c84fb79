"""The median of the checks is numpy's."""

from __future__ import annotations

import numpy as np
import pytest

from musetalk_cli.engine.avatar.preparation.checks.medians import median


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_it_is_the_median_of_numpy(count: int) -> None:
    levels = np.random.default_rng(count).integers(0, 256, (count, 3)).astype(np.uint8)
    assert median(levels).tolist() == np.median(levels, axis=0).tolist()
    assert float(median([0.25 * level for level in range(count)])) == 0.125 * (count - 1)
