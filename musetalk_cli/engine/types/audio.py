"""Fragments of a block's samples, for every model that hears."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def cut_samples(samples: NDArray[np.float32], begin: int, length: int) -> NDArray[np.float32]:
    """``samples[begin : begin + length]`` with zeros wherever that reaches beyond them."""
    out = np.zeros(length, np.float32)
    low, high = max(begin, 0), min(begin + length, len(samples))
    if high > low:
        out[low - begin : high - begin] = samples[low:high]
    return out
