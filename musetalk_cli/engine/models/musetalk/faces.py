"""What frames hear, and the avatar frames they show → the faces that go into them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import numpy as np
import torch

from musetalk_cli.engine.messages import FloatArray
from musetalk_cli.engine.models.musetalk.painting import FacePainter
from musetalk_cli.engine.models.musetalk.placement import PlacedFace, Placing, nothing


class FaceMaker:
    """One avatar's faces. Several threads may make some at once.

    ``latents`` (n, 8, 32, 32), masked and reference, one of all for every avatar frame; ``placing`` gives what puts a
    face into the frame of an index.
    """

    def __init__(self, painter: FacePainter, latents: torch.Tensor, placing: Callable[[int], Placing]) -> None:
        self._painter = painter
        self._latents = painter.hold(latents)
        self._placing = placing

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
            faces[row] = self._placing(index).place(picture, float(weights[row]))
        return tuple(faces)

    def sibling(self, placing: Callable[[int], Placing]) -> FaceMaker:
        """The same faces in frames in which they stand elsewhere; painter and latents are shared."""
        other = copy.copy(self)
        other._placing = placing
        return other
