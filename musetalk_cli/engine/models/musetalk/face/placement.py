"""Where a generated face goes in an avatar frame, and how much of it shows there."""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.frames import AvatarFrames
from musetalk_cli.engine.avatar.visibility import Area
from musetalk_cli.engine.models.musetalk.face.blend import Box, crop_face, resize_face
from musetalk_cli.engine.models.musetalk.face.detail import FaceDetail, is_enlarged
from musetalk_cli.engine.types.colour import Planes, as_bytes, bgr_to_planes
from musetalk_cli.engine.types.messages import NO_REGION, ByteArray, Face, Region, unchanged_face

# Placements that are cached, at least and at most, and the memory of all: one has a byte for each pixel of its box, and
# about two with detail.
LEAST_CACHED, MOST_CACHED, CACHED_BYTES = 32, 512, 128_000_000


class Placing(Protocol):
    """One avatar frame, ready to take faces."""

    def place(self, face: ByteArray, weight: float = 1.0) -> Face:
        """A generated face uint8 BGR (any size); ``weight`` 0 … 1 is how much of it shows where the mask is full."""


class Masks(Protocol):
    """A mask for every avatar frame."""

    def __getitem__(self, index: int) -> ByteArray:
        """uint8 (h, w), to be stretched over the frame's box."""


class Placements:
    """Avatar frames, each ready to take faces; several threads may ask.

    ``boxes`` int32 (n, 4), left, top, right, bottom in pixels of the frames that are shown. ``frames``: these, whose
    detail faces get that are shown larger than they are generated; None adds none. ``area``: nothing outside it is
    changed; None for the whole frame.
    """

    def __init__(
        self,
        boxes: NDArray[np.int32],
        masks: Masks,
        frames: AvatarFrames | None = None,
        *,
        area: Area | None = None,
    ) -> None:
        self._boxes, self._masks, self._frames, self._area = boxes, masks, frames, area
        self._place = lru_cache(num_cached(boxes, has_detail=frames is not None))(self._make)

    def __call__(self, index: int) -> Placement:
        return self._place(index)

    def _make(self, index: int) -> Placement:
        box = Box(*map(int, self._boxes[index]))
        placement = Placement(box, self._masks[index], self._area)
        if self._frames is not None and is_enlarged(box) and placement.region is not NO_REGION:
            image = self._frames.image(index)
            placement.detail = FaceDetail(image, box, placement.region, crop_face(image, box))
        return placement


def num_cached(boxes: NDArray[np.int32], *, has_detail: bool) -> int:
    """How many placements of boxes int32 (n, 4) are cached."""
    sizes = boxes[:, 2:] - boxes[:, :2]
    largest = int(sizes.prod(axis=1).max(initial=1)) * (2 if has_detail else 1)
    return int(np.clip(CACHED_BYTES // largest, LEAST_CACHED, MOST_CACHED))


class Placement:
    """One avatar frame, ready to take faces.

    ``region`` is the smallest rectangle of whole chroma samples that holds all of the box where the mask is not zero.
    ``mask`` uint8 of any size is stretched over the box, which lies inside the frame; outside ``area`` it is zero.
    ``detail`` is added to the faces.
    """

    detail: FaceDetail | None = None

    def __init__(self, box: Box, mask: ByteArray, area: Area | None = None) -> None:
        self._box = box
        stretched = as_bytes(cv2.resize(mask, (box.width, box.height), interpolation=cv2.INTER_LINEAR))
        if area is not None:
            stretched = _within(stretched, box, area)
        rows, columns = (np.flatnonzero(stretched.any(axis=axis)) for axis in (1, 0))
        if not len(rows):
            self.region, self._mask = NO_REGION, np.zeros((2, 2), np.uint8)
            return
        left, top, right, bottom = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
        self.region = even_region(Box(box.left + left, box.top + top, box.left + right, box.top + bottom))
        self._mask = self._cut(stretched, cv2.BORDER_CONSTANT)

    def place(self, face: ByteArray, weight: float = 1.0) -> Face:
        """See Placing."""
        if self.region is NO_REGION:
            return unchanged_face()
        # Edge pixels are repeated: beyond the box the mask is zero, but chroma samples are shared across its edge.
        part = self._cut(resize_face(face, self._box.width, self._box.height), cv2.BORDER_REPLICATE)
        mask = self._mask if weight == 1.0 else as_bytes(np.rint(self._mask * np.float32(weight)))
        planes = bgr_to_planes(part)
        if self.detail is not None:
            planes = Planes(self.detail.add(planes.luma, face), planes.chroma)
        return Face(self.region, planes, mask)

    def _cut(self, image: ByteArray, border: int) -> ByteArray:
        """The region's part of an image of the box's size, which the region may leave by one pixel."""
        box, region = self._box, self.region
        left, top = region.left - box.left, region.top - box.top
        right, bottom = left + region.width, top + region.height
        inside = image[max(0, top) : min(box.height, bottom), max(0, left) : min(box.width, right)]
        over = (max(0, -top), max(0, bottom - box.height), max(0, -left), max(0, right - box.width))
        return as_bytes(cv2.copyMakeBorder(inside, *over, border)) if any(over) else inside


def _within(mask: ByteArray, box: Box, area: Area) -> ByteArray:
    """A box's mask, zero where a chroma sample is not wholly within an area."""
    first, last = (area.left, area.top), (area.right, area.bottom)
    columns, rows = (
        slice(max(-(-low // 2) * 2 - start, 0), max(high // 2 * 2 - start, 0))
        for low, high, start in zip(first, last, (box.left, box.top), strict=True)
    )
    inside = np.zeros_like(mask)
    inside[rows, columns] = mask[rows, columns]
    return inside


def even_region(box: Box) -> Region:
    """The smallest region of whole chroma samples around a box."""
    left, top = box.left - box.left % 2, box.top - box.top % 2
    return Region(left, top, box.right + box.right % 2 - left, box.bottom + box.bottom % 2 - top)
