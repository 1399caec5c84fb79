"""What frames hear, and the avatar frames they show → the faces that go into them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from musetalk_cli.engine.messages import ByteArray, FloatArray
from musetalk_cli.engine.models.musetalk.blend import Box
from musetalk_cli.engine.models.musetalk.painting import FacePainter
from musetalk_cli.engine.models.musetalk.placement import PlacedFace, Placement, nothing

# Placements that are kept, about 0.2 MB each at 1080p.
NUM_PLACEMENTS = 512


class FaceMaker:
    """One avatar's faces. Several threads may make some at once.

    ``latents`` (n, 8, 32, 32), masked and reference; ``boxes`` int32 (n, 4), left, top, right, bottom in pixels of the
    frames that are shown; ``masks`` uint8 (n, h, w), each stretched over its box: one of all for every avatar frame.
    """

    def __init__(self, painter: FacePainter, latents: torch.Tensor, boxes: NDArray[np.int32], masks: ByteArray) -> None:
        self._painter = painter
        self._latents = painter.hold(latents)
        self._boxes, self._masks = boxes, masks
        self._placement = lru_cache(NUM_PLACEMENTS)(self._place)

    def make(self, features: FloatArray, avatar_frames: Sequence[int]) -> tuple[PlacedFace, ...]:
        """One face for each row of ``features``, as Hearing gives them.

        Frames without weight are left alone, and take no part in the network's batch.
        """
        weights = features[:, -1]
        speaking = np.flatnonzero(weights > 0)
        indices = [avatar_frames[int(row)] for row in speaking]
        painted = self._painter.paint(self._latents[indices], np.ascontiguousarray(features[speaking, :-1]))
        faces = [nothing()] * len(features)
        for row, index, picture in zip(speaking, indices, painted, strict=True):
            faces[row] = self._placement(index).place(picture, float(weights[row]))
        return tuple(faces)

    def sibling(self, boxes: NDArray[np.int32], masks: ByteArray) -> FaceMaker:
        """The same faces in frames in which they stand elsewhere; painters and latents are shared."""
        other = copy.copy(self)
        other._boxes, other._masks = boxes, masks
        other._placement = lru_cache(NUM_PLACEMENTS)(other._place)
        return other

    def _place(self, index: int) -> Placement:
        return Placement(Box(*map(int, self._boxes[index])), self._masks[index])
