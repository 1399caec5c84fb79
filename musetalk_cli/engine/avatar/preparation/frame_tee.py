"""A clip's frames go two ways: into the store, whose thread compresses them, and to whoever follows a face."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2

from musetalk_cli.engine.avatar.frame_store import FrameStoreWriter
from musetalk_cli.engine.avatar.inputs.images import MIN_SIDE_PX
from musetalk_cli.engine.avatar.inputs.sources import FrameSource
from musetalk_cli.engine.types.colour import ByteArray, as_bytes
from musetalk_cli.engine.types.planar_frame import PlanarFrame
from musetalk_cli.errors import AvatarError

# A video whose frames differ by less is one image: the luma of blocks of so many pixels, of 255.
STILL_BLOCK_PX = 16
STILL_DIFFERENCE = 3


class FrameTee:
    """Passes frames both to the writer and to the tracker.

    ``first`` and ``last``: the first and last frame, planar I420. ``is_moving``: whether any frame shows something else
    than the first, beyond what encoding makes of one image.
    """

    def __init__(self, frames: FrameSource, on_passed: Callable[[int], None]) -> None:
        """``on_passed`` is called with the number of frames so far, when the tracker has searched one."""
        self._frames, self._on_passed = frames, on_passed
        self.first: ByteArray | None = None
        self.last: ByteArray | None = None
        self.is_moving = False
        self._first_means: ByteArray | None = None

    def images(self, writer: FrameStoreWriter) -> Iterator[PlanarFrame]:
        """Yield each frame, after it was given to the writer."""
        for number, image in enumerate(self._frames, start=1):
            if self.first is None:
                check_size(image.shape[1], image.shape[0] * 2 // 3)
                self.first = image
            writer.write(image)
            self.last = image
            self.is_moving = self.is_moving or self._shows_else(image)
            yield PlanarFrame(image)
            self._on_passed(number)

    def _shows_else(self, image: ByteArray) -> bool:
        """Whether a frame differs from the first; compared are means of blocks, which noise hardly changes."""
        height, width = image.shape[0] * 2 // 3, image.shape[1]
        size = (max(1, width // STILL_BLOCK_PX), max(1, height // STILL_BLOCK_PX))
        means = as_bytes(cv2.resize(image[:height], size, interpolation=cv2.INTER_AREA))
        if self._first_means is None:
            self._first_means = means
        return int(cv2.absdiff(means, self._first_means).max()) > STILL_DIFFERENCE


def check_size(width: int, height: int) -> None:
    """Raises AvatarError where a frame is too small to show a face."""
    if min(width, height) < MIN_SIDE_PX:
        hint = f"both sides must have {MIN_SIDE_PX} at least"
        raise AvatarError(f"its frames have only {width} × {height} pixels", hint=hint)
