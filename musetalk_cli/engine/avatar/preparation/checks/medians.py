"""The median, without what numpy's own imports: masked arrays, which take a thirtieth of a preparation's start."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def median(values: ArrayLike) -> NDArray[np.float64]:
    """The median along the first axis, float64; of an even number of values the mean of the two in the middle."""
    given = np.asarray(values)
    low, high = (len(given) - 1) // 2, len(given) // 2
    ordered = np.partition(given, (low, high), axis=0)
    return np.asarray((ordered[low].astype(np.float64) + ordered[high]) / 2)
