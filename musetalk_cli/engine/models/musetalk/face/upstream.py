"""Faces in their frames as the official script puts them there, to compare our frames with its own.

That is ``inference.py`` at commit 0a89dec (2025-09-26): its mask, cut at the face box and then blurred, which leaves an
edge along the box, and its paste in BGR and 8 bits.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.frames import AvatarFrames
from musetalk_cli.engine.models.musetalk.face.blend import BLUR_OFFLINE, Box, JawBlend, crop_box, mode_mask, soften
from musetalk_cli.engine.models.musetalk.face.masks import MaskSettings
from musetalk_cli.engine.models.musetalk.face.parsed_masks import Classes
from musetalk_cli.engine.models.musetalk.face.pillow_resize import resize_bicubic
from musetalk_cli.engine.models.musetalk.face.placement import even_region
from musetalk_cli.engine.types.colour import bgr_to_planes
from musetalk_cli.engine.types.messages import ByteArray, Face, unchanged_face

# Frames that are cached, about a megabyte each at 1080p: a cycle shows neighbours again where it turns.
NUM_CACHED = 64


class UpstreamMasking(NamedTuple):
    """Which pixels are what in every avatar frame, and what of it is replaced."""

    classes: Classes
    mask: MaskSettings


class UpstreamPlacements:
    """Avatar frames, each ready to take faces; several threads may ask.

    ``frames`` as they are shown; ``boxes`` int32 (n, 4) in their pixels.
    """

    def __init__(self, frames: AvatarFrames, boxes: NDArray[np.int32], masking: UpstreamMasking) -> None:
        self._frames, self._boxes, self._masking = frames, boxes, masking
        self._place = lru_cache(NUM_CACHED)(self._make)

    def __call__(self, index: int) -> UpstreamPlacement:
        return self._place(index)

    def _make(self, index: int) -> UpstreamPlacement:
        box = Box(*map(int, self._boxes[index]))
        crop = crop_box(box)
        hard = resize_bicubic(mode_mask(self._masking.classes[index], self._masking.mask), crop.width, crop.height)
        # An odd last row or column is not shown.
        frame = self._frames.image(index)[: self._frames.height, : self._frames.width]
        return UpstreamPlacement(frame, box, soften(hard, box, crop, BLUR_OFFLINE))


class UpstreamPlacement:
    """One avatar frame, uint8 BGR of even size, with its face box and the mask of the square around it."""

    def __init__(self, frame: ByteArray, box: Box, mask: ByteArray) -> None:
        self._blend = JawBlend(frame, box, crop_box(box), mask)
        inner = self._blend.region
        self._region = even_region(inner)
        left, top, width, height = self._region
        self._own = frame[top : top + height, left : left + width].copy()
        self._inner = np.s_[inner.top - top : inner.bottom - top, inner.left - left : inner.right - left]

    def place(self, face: ByteArray, weight: float = 1.0) -> Face:
        """A generated face uint8 BGR (any size), whole: there is no silence for it to fade into, ``weight`` is 1."""
        if not self._region.width or not self._region.height:
            return unchanged_face()
        image = self._own.copy()
        image[self._inner] = self._blend.blend(face)
        return Face(self._region, bgr_to_planes(image), None)
