"""Resizing masks to the last bit as Pillow does, which upstream resizes them with; Pillow itself is not needed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.colour import as_bytes
from musetalk_cli.engine.messages import ByteArray

_BITS = 22  # of a weight's fraction: 32 less 8 for the value and 2 for the overshoot
_SUPPORT = 2.0


def resize_bicubic(mask: ByteArray, width: int, height: int) -> ByteArray:
    """uint8 (h, w) → (height, width): Keys' cubic with a = −1/2, widened when shrinking, across and then down.

    Both passes round to 8 bits, with weights of 22 bits.
    """
    across = _resample(mask, width)
    return as_bytes(_resample(across.T, height).T)


def _resample(lines: ByteArray, size: int) -> ByteArray:
    """Change the last axis' length."""
    total = lines.astype(np.int64) @ _weights(lines.shape[1], size).T + (1 << (_BITS - 1))
    return as_bytes(np.clip(total >> _BITS, 0, 255))


def _weights(old: int, new: int) -> NDArray[np.int64]:
    """Fixed-point weights (new, old), each row summing to about one."""
    scale = old / new
    widening = max(scale, 1.0)
    support = _SUPPORT * widening
    weights = np.zeros((new, old), np.int64)
    for index in range(new):
        centre = (index + 0.5) * scale
        # C truncates towards zero where Python would round down.
        first, last = max(int(centre - support + 0.5), 0), min(int(centre + support + 0.5), old)
        row = _cubic((np.arange(first, last) - centre + 0.5) / widening)
        row = row / row.sum()
        weights[index, first:last] = np.trunc(row * (1 << _BITS) + np.where(row < 0, -0.5, 0.5))
    return weights


def _cubic(x: NDArray[np.floating]) -> NDArray[np.floating]:
    a, x = -0.5, np.abs(x)
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * a
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))
