"""Resizing to the last bit as Pillow does, which upstream resizes masks and parsed faces with; Pillow is not needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.types.colour import as_bytes
from musetalk_cli.engine.types.messages import ByteArray

_BITS = 22  # of a weight's fraction: 32 less 8 for the value and 2 for the overshoot


class _Filter(NamedTuple):
    """A symmetric curve that is zero ``reach`` pixels from its middle."""

    curve: Callable[[NDArray[np.floating]], NDArray[np.floating]]
    reach: float


def resize_bicubic(image: ByteArray, width: int, height: int) -> ByteArray:
    """uint8 (h, w) or (h, w, channels) → (height, width, …): Keys' cubic with a = −1/2, widened when shrinking."""
    return _resize(image, width, height, _Filter(_cubic, 2.0))


def resize_bilinear(image: ByteArray, width: int, height: int) -> ByteArray:
    """The same with a triangle."""
    return _resize(image, width, height, _Filter(lambda x: np.maximum(0.0, 1.0 - np.abs(x)), 1.0))


def _resize(image: ByteArray, width: int, height: int, how: _Filter) -> ByteArray:
    """Across and then down, as Pillow does for squares; both passes round to 8 bits, with weights of 22 bits."""
    across = _resample(image, width, how)
    return np.ascontiguousarray(_resample(across.swapaxes(0, 1), height, how).swapaxes(0, 1))


def _resample(lines: ByteArray, size: int, how: _Filter) -> ByteArray:
    """Change the second axis' length."""
    first, weights = _weights(lines.shape[1], size, how)
    total = np.full((len(lines), size, *lines.shape[2:]), 1 << (_BITS - 1), np.int32)
    for tap in range(weights.shape[1]):
        part = lines[:, np.minimum(first + tap, lines.shape[1] - 1)].astype(np.int32)
        total += part * weights[:, tap].reshape(-1, *(1 for _ in lines.shape[2:]))
    return as_bytes(np.clip(total >> _BITS, 0, 255))


def _weights(old: int, new: int, how: _Filter) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Of each new pixel the first old one (new,), and fixed-point weights from there on (new, taps)."""
    scale = old / new
    widening = max(scale, 1.0)
    reach = how.reach * widening
    centres = (np.arange(new) + 0.5) * scale
    # C truncates towards zero where Python would round down.
    first = np.maximum(np.trunc(centres - reach + 0.5), 0).astype(np.int64)
    last = np.minimum(np.trunc(centres + reach + 0.5), old).astype(np.int64)
    taps = np.arange(int((last - first).max()))
    curve = how.curve((taps + first[:, None] - centres[:, None] + 0.5) * (1.0 / widening))
    curve[taps >= (last - first)[:, None]] = 0.0
    curve /= curve.sum(axis=1, keepdims=True)
    weights = np.trunc(curve * (1 << _BITS) + np.where(curve < 0, -0.5, 0.5))
    return first, weights.astype(np.int32)


def _cubic(x: NDArray[np.floating]) -> NDArray[np.floating]:
    a, x = -0.5, np.abs(x)
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * a
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))
