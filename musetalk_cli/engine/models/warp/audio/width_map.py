"""Mouth shapes per 20 ms step, float32 (n, 6) → the mouth's width that people show, float32 (n,)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


class WidthMap(NamedTuple):
    """From the net's width to the one that people show; measured on real talkers.

    ``spread``: the share of a positive width that is left. ``opens``: by how much an open mouth is wider, per gap.
    ``deepens``: by how much spreading and rounding grow with the gap. ``closes``: by how much lips that meet, or a lip
    that touches the teeth, are narrower. ``amplitude``: how much larger all of it is drawn, because people's widths
    vary more.
    """

    spread: float = 0.35
    opens: float = 0.2
    deepens: float = 0.5
    closes: float = 0.1
    amplitude: float = 1.3

    def width(self, steps: FloatArray) -> FloatArray:
        """The width of steps (n, 6) whose O is the drawn gap, closures not yet applied; −1..1, (n,)."""
        open_gap, _, width, bilabial, labiodental = steps.T[:5]
        gap = open_gap * (1.0 - bilabial) * (1.0 - np.float32(0.75) * labiodental)
        wide = np.where(width > 0.0, np.float32(self.spread), np.float32(1.0)) * width
        wide += gap * (np.float32(self.opens) + np.float32(self.deepens) * width)
        wide -= np.float32(self.closes) * (bilabial + labiodental)
        return np.asarray(np.clip(np.float32(self.amplitude) * wide, -1.0, 1.0), dtype=np.float32)
