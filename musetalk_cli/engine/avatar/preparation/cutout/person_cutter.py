"""Cuts a person out of an image, or out of frames that follow each other, without flicker.

The net is MediaPipe's selfie segmentation, general: 256 × 256 pixels in, how likely each shows a person out.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from musetalk_cli.engine.avatar.preparation.cutout.matte import FloatArray, clean_colours, refine
from musetalk_cli.engine.types.colour import ByteArray, as_bytes
from musetalk_cli.errors import AvatarError

INPUT_PX = 256
# Where a pixel has changed by so many levels since the frame before, its mask is new; where it has not, this share of
# the mask before stays.
STILL_LEVELS, KEPT_SHARE = 8.0, 0.75
# The mean difference of two frames, levels: from here on the second begins another shot.
CUT_LEVELS = 40.0
# A person takes up more of the frame than this.
LEAST_SHARE = 0.01


class PersonCutter:
    """Give it the frames of one clip in order, or one image."""

    def __init__(self, model: Path) -> None:
        """Load the net. Raises AvatarError when OpenCV cannot."""
        try:
            self._net = cv2.dnn.readNetFromTFLite(str(model))
        except cv2.error as error:
            raise AvatarError(
                f"{model.name} cannot be loaded by OpenCV {cv2.__version__}", hint="update opencv-python-headless"
            ) from error
        self._seen: FloatArray | None = None
        self._mask: FloatArray | None = None
        self.has_person = False  # whether any frame so far shows one

    def cut(self, bgr: ByteArray) -> tuple[ByteArray, ByteArray]:
        """The person's colours, uint8 BGR (h, w, 3), and alpha, uint8 (h, w)."""
        alpha = refine(bgr, self._follow(bgr))
        return clean_colours(bgr, alpha), alpha

    def _follow(self, bgr: ByteArray) -> FloatArray:
        """The mask of the next frame, float32 (256, 256), steadied by the one before it."""
        small = as_bytes(cv2.resize(bgr, (INPUT_PX, INPUT_PX), interpolation=cv2.INTER_AREA))
        self._net.setInput(cv2.dnn.blobFromImage(small, 1 / 255, (INPUT_PX, INPUT_PX), swapRB=True))
        mask = np.array(self._net.forward(), np.float32).reshape(INPUT_PX, INPUT_PX)
        seen = np.asarray(cv2.GaussianBlur(small, (0, 0), 1.5), np.float32).mean(axis=2)
        if self._seen is not None and self._mask is not None:
            change = np.abs(seen - self._seen)
            if change.mean() < CUT_LEVELS:
                # What moves nearby moves edges, too.
                moved = cv2.dilate(change, np.ones((5, 5), np.uint8))
                kept = KEPT_SHARE * np.exp(-((moved / STILL_LEVELS) ** 2))
                mask = np.asarray(kept * self._mask + (1 - kept) * mask, np.float32)
        self._seen, self._mask = seen, mask
        self.has_person = self.has_person or bool(mask.mean() > LEAST_SHARE)
        return mask
