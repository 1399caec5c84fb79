"""What frames hear, and the avatar frames they show → the faces that go into them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from itertools import cycle, zip_longest

import cv2
import numpy as np
import torch

from musetalk_cli.engine.models.musetalk.face.placement import Placing, nothing
from musetalk_cli.engine.models.musetalk.inference.face_generator import FacePainter
from musetalk_cli.engine.models.musetalk.inference.forward_pass import CUDA_SIZES
from musetalk_cli.engine.types.colour import as_bytes
from musetalk_cli.engine.types.messages import ByteArray, Face, FloatArray


class FaceMaker:
    """One avatar's faces. Several threads may make some at once.

    ``latents`` (n, 8, 32, 32), masked and reference, one of all for every avatar frame; ``placing`` gives what puts a
    face into the frame of an index. With ``others``, painters on further devices, batches are dealt to them in turn.
    ``has_half_rate``: every second face of those that follow each other in a batch is the mean of its neighbours, and
    costs the network nothing.
    """

    def __init__(
        self,
        painter: FacePainter,
        latents: torch.Tensor,
        placing: Callable[[int], Placing],
        *,
        others: Sequence[FacePainter] = (),
        has_half_rate: bool = False,
    ) -> None:
        self._lanes = [(each, each.watch(latents)) for each in (painter, *others)]
        self._turns = cycle(self._lanes)
        self._has_half_rate = has_half_rate
        self._placing = placing

    def make(self, features: FloatArray, avatar_frames: Sequence[int]) -> tuple[Face, ...]:
        """One face for each row of ``features``, as Hearing gives them.

        Frames without weight are left alone, and take no part in the network's batch.
        """
        weights = features[:, -1]
        speaking = [int(row) for row in np.flatnonzero(weights > 0)]
        painted = choose_painted(speaking) if self._has_half_rate else speaking
        painter, views = next(self._turns)
        heard = np.ascontiguousarray(features[painted, :-1])
        images = painter.submit(views, [avatar_frames[row] for row in painted], heard).collect()
        by_row = dict(zip(painted, images, strict=True))
        faces = [nothing()] * len(features)
        for row in speaking:
            image = by_row[row] if row in by_row else average(by_row[row - 1], by_row[row + 1])
            faces[row] = self._placing(avatar_frames[row]).place(image, float(weights[row]))
        return tuple(faces)

    def clone_for(self, placing: Callable[[int], Placing]) -> FaceMaker:
        """The same faces in frames in which they stand elsewhere; painters and latents are shared."""
        other = copy.copy(self)
        other._placing = placing
        return other

    def warm_up(self, batch_size: int) -> bool:
        """Do beforehand what the first batches of up to ``batch_size`` frames would wait for, on every device; whether
        there was memory for all of it."""
        is_ready = [painter.warm_up(views, painter.sizes_up_to(batch_size)) for painter, views in self._lanes]
        return all(is_ready)


def asked_sizes(batch_size: int, *, has_half_rate: bool) -> tuple[int, ...]:
    """How many faces batches of up to ``batch_size`` frames ask a painter for, where all frames speak: of the whole
    batch, and at half rate, which makes other numbers of them, of all powers of two below.
    """
    if not has_half_rate:
        return (batch_size,)
    lengths = {batch_size, *(size for size in CUDA_SIZES if size < batch_size)}
    return tuple(sorted({len(choose_painted(range(length))) for length in lengths}))


def choose_painted(rows: Sequence[int]) -> list[int]:
    """Of ascending ``rows`` those that cannot be averaged: every second one of a run, and its last."""
    painted: list[int] = []
    for row, following in zip_longest(rows, rows[1:]):
        is_between = bool(painted) and painted[-1] == row - 1 and following == row + 1
        painted += [] if is_between else [row]
    return painted


def average(first: ByteArray, second: ByteArray) -> ByteArray:
    return as_bytes(cv2.addWeighted(first, 0.5, second, 0.5, 0.0))
