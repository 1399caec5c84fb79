"""Drawn eyelids: the eyes of an image, drawn again at several closures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.errors import AvatarError


@dataclass(frozen=True, eq=False)  # arrays are not equal or unequal as a whole
class Eyelids:
    """``box``: left, top, width, height (pixels of the image) of a crop that holds both eyes.

    ``levels``: increasing closures, 0 < level <= 1 (1 = shut). ``images`` uint8 (len(levels), height, width, 3), BGR:
    the crop at every level. Raises AvatarError when the three do not agree.
    """

    box: tuple[int, int, int, int]
    levels: tuple[float, ...]
    images: NDArray[np.uint8]

    def __post_init__(self) -> None:
        expected = (len(self.levels), self.box[3], self.box[2], 3)
        if not self.levels or self.images.shape != expected:
            raise AvatarError(f"lid images must have shape {expected}; found {self.images.shape}")
        if list(self.levels) != sorted(self.levels) or not 0 < self.levels[0] <= self.levels[-1] <= 1:
            raise AvatarError(f"lid levels must increase from above 0 to at most 1; found {self.levels}")
