"""Which part of an input is wanted, and how."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

WHITE = (255, 255, 255)
# A video is played forward and back, so more brings nothing but files of gigabytes.
MAX_CLIP_S = 600.0


@dataclass(frozen=True)
class ClipSettings:
    """Which part of a video is wanted, at what rate and height: from ``start_s``, at most ``max_seconds`` (None:
    MAX_CLIP_S), at most ``height_px`` high (None: as it is). ``background``: red, green and blue behind transparent
    parts."""

    frame_rate: Fraction
    start_s: float = 0.0
    max_seconds: float | None = None
    height_px: int | None = None
    background: tuple[int, int, int] = WHITE

    @property
    def length_s(self) -> float:
        """The most seconds that are used."""
        return MAX_CLIP_S if self.max_seconds is None else self.max_seconds
