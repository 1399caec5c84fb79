"""A clip's frames go two ways: into the store, and as BGR to whoever follows the face, some of them ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import cv2

from musetalk_cli.engine.avatar.frame_store import FrameStoreWriter
from musetalk_cli.engine.avatar.inputs.images import MIN_SIDE_PX
from musetalk_cli.engine.avatar.inputs.sources import FrameSource
from musetalk_cli.engine.types.colour import ByteArray, as_bytes
from musetalk_cli.errors import AvatarError

# A video whose frames differ by less is one image: the luma of blocks of so many pixels, of 255.
STILL_BLOCK_PX = 16
STILL_DIFFERENCE = 3
# Frames that are stored and converted while the face is followed in the one before.
FRAMES_AHEAD = 2


class FrameTee:
    """Passes frames both to the writer and to the tracker.

    ``first``: the first, BGR; ``begin`` and ``last``: the first and last, planar I420. ``is_moving``: whether any frame
    shows something else than the first, beyond what encoding makes of one image.
    """

    def __init__(self, frames: FrameSource, on_passed: Callable[[int], None]) -> None:
        """``on_passed`` is called with the number of frames so far, when the tracker has taken one."""
        self._frames, self._on_passed = frames, on_passed
        self.num_frames = 0
        self.first: ByteArray | None = None
        self.begin: ByteArray | None = None
        self.last: ByteArray | None = None
        self.is_moving = False
        self._first_means: ByteArray | None = None

    def images(self, writer: FrameStoreWriter) -> Generator[ByteArray]:
        """Yield each frame as BGR, after it was given to the writer; the next ones are prepared meanwhile."""
        waiting: deque[Future[ByteArray]] = deque()
        with ThreadPoolExecutor(1, thread_name_prefix="musetalk-convert") as ahead:
            for image in self._frames:
                waiting.append(ahead.submit(self._take, image, writer))
                if len(waiting) > FRAMES_AHEAD:
                    yield from self._pass_on(waiting)
            while waiting:
                yield from self._pass_on(waiting)

    def _pass_on(self, waiting: deque[Future[ByteArray]]) -> Iterator[ByteArray]:
        """Yield the first of the frames that wait, and report it once it has been searched."""
        yield waiting.popleft().result()
        self.num_frames += 1
        self._on_passed(self.num_frames)

    def _take(self, image: ByteArray, writer: FrameStoreWriter) -> ByteArray:
        """Store a frame; returns it as BGR."""
        if self.last is None:
            check_size(image.shape[1], image.shape[0] * 2 // 3)
        writer.write(image)
        self.begin = image if self.begin is None else self.begin
        self.last = image
        self.is_moving = self.is_moving or self._shows_else(image)
        # OpenCV's own matrix is BT.601, which tints skin a little: nothing to a face detector, and 5 × faster.
        seen = as_bytes(cv2.cvtColor(image, cv2.COLOR_YUV2BGR_I420))
        self.first = seen if self.first is None else self.first
        return seen

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
