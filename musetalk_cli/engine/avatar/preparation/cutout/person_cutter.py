"""Cuts a person out of an image, or out of frames that follow each other, without flicker.

The net is MediaPipe's selfie segmentation, general: 256 × 256 pixels in, how likely each shows a person out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from musetalk_cli.engine.avatar.preparation.cutout.matte import FloatArray, clean_colours, refine
from musetalk_cli.engine.types.colour import ByteArray, as_bytes
from musetalk_cli.errors import AvatarError

INPUT_PX = 256
# The mask before, moved along with the image, keeps this share where the image moved as was found, and less where its
# pixels differ from that by so many levels.
KEPT_SHARE, DIFFERENT_LEVELS = 0.9, 8.0
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
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self._before: _SteadiedMask | None = None
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
        seen = np.asarray(cv2.GaussianBlur(small, (0, 0), 1.5), np.float32)
        grey = as_bytes(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY))
        if self._before is not None and np.abs(seen - self._before.seen).mean() < CUT_LEVELS:
            no_flow = np.zeros((INPUT_PX, INPUT_PX, 2), np.float32)
            before = self._before.moved(np.asarray(self._flow.calc(grey, self._before.grey, no_flow), np.float32))
            difference = np.abs(seen - before.seen).mean(axis=2)
            # What is new nearby changes edges, too.
            difference = cv2.dilate(difference, np.ones((3, 3), np.uint8))
            kept = KEPT_SHARE * np.exp(-((difference / DIFFERENT_LEVELS) ** 2))
            mask = np.asarray(kept * before.mask + (1 - kept) * mask, np.float32)
        self._before = _SteadiedMask(grey, seen, mask)
        self.has_person = self.has_person or bool(mask.mean() > LEAST_SHARE)
        return mask


@dataclass(frozen=True)
class _SteadiedMask:
    """A frame, ``grey`` uint8 (256, 256) and blurred float32 (256, 256, 3) as ``seen``, and its mask (256, 256)."""

    grey: ByteArray
    seen: FloatArray
    mask: FloatArray

    def moved(self, flow: FloatArray) -> _SteadiedMask:
        """The blurred frame and the mask as the next frame would show them; ``grey`` stays.

        ``flow`` float32 (256, 256, 2): from there back to here, pixels.
        """
        axis = np.arange(INPUT_PX, dtype=np.float32)
        at = flow + np.dstack(np.meshgrid(axis, axis)).astype(np.float32)
        seen, mask = (
            cv2.remap(each, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            for each in (self.seen, self.mask)
        )
        return replace(self, seen=np.asarray(seen, np.float32), mask=np.asarray(mask, np.float32))
