"""A model's features and avatar frames, batch by batch → generated faces, placed in those frames."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from itertools import cycle, zip_longest

import cv2
import numpy as np
import torch

from musetalk_cli.engine.models.musetalk.face.placement import Placing
from musetalk_cli.engine.models.musetalk.inference.face_generator import FaceGenerator
from musetalk_cli.engine.models.musetalk.inference.forward_pass import CUDA_SIZES
from musetalk_cli.engine.types.colour import as_bytes
from musetalk_cli.engine.types.messages import ByteArray, Deadline, Face, FloatArray, unchanged_face


class FaceBatchGenerator:
    """Generates and places the faces of one avatar. Several threads may call it at once."""

    def __init__(
        self,
        generator: FaceGenerator,
        latents: torch.Tensor,
        placing: Callable[[int], Placing],
        *,
        replicas: Sequence[FaceGenerator] = (),
        has_half_rate: bool = False,
        shots: Sequence[int] | None = None,
    ) -> None:
        """Build a prefix cache on every device.

        Args:
            generator: the nets' calls on the first device.
            latents: (n, 8, 32, 32), masked and reference, of every avatar frame.
            placing: avatar frame → what places a face in it.
            replicas: generators on further devices; batches go to all of them in turn.
            has_half_rate: of consecutive speaking frames every second face is the mean of its neighbours and is not
                generated.
            shots: the shot of every avatar frame, whose faces have nothing in common with another's; None for one.
        """
        self._devices = [(each, each.build_prefix_cache(latents)) for each in (generator, *replicas)]
        self._turns = cycle(self._devices)
        self._has_half_rate, self._shots = has_half_rate, shots
        self._placing = placing
        self._shares_batches = False
        self._caller = object()

    def generate(
        self, features: FloatArray, avatar_frames: Sequence[int], deadline: Deadline | None = None
    ) -> tuple[Face, ...]:
        """One face for each row of ``features`` float32 (n, tokens · dim + 1), as ``AudioFeatureExtractor`` returns it.

        Frames with weight 0 are left unchanged and not part of the network's batch; all are, when nobody waits for them
        any more. ``deadline`` counts where batches are shared. Raises ModelError when there is not enough memory for a
        single face.
        """
        weights = features[:, -1]
        speaking = [int(row) for row in np.flatnonzero(weights > 0)]
        shots = None if self._shots is None else [self._shots[frame] for frame in avatar_frames]
        generated = choose_generated(speaking, shots) if self._has_half_rate else speaking
        faces = [unchanged_face()] * len(features)
        audio = np.ascontiguousarray(features[generated, :-1])
        try:
            images = self._generate([avatar_frames[row] for row in generated], audio, deadline)
        except CancelledError:
            return tuple(faces)
        by_row = dict(zip(generated, images, strict=True))
        for row in speaking:
            image = by_row[row] if row in by_row else average(by_row[row - 1], by_row[row + 1])
            faces[row] = self._placing(avatar_frames[row]).place(image, float(weights[row]))
        return tuple(faces)

    def _generate(self, frames: Sequence[int], audio: FloatArray, deadline: Deadline | None) -> ByteArray:
        generator, prefix_cache = next(self._turns)
        if self._shares_batches:
            return generator.generate_shared(self._caller, prefix_cache, frames, audio, deadline)
        return generator.submit(prefix_cache, frames, audio).collect()

    def share(self) -> FaceBatchGenerator:
        """The same for one of several sessions, whose faces may be computed in one batch with those of others."""
        other = copy.copy(self)
        other._shares_batches, other._caller = True, object()
        return other

    def clone_with(
        self, latents: torch.Tensor, placing: Callable[[int], Placing], shots: Sequence[int] | None = None
    ) -> FaceBatchGenerator:
        """The same generators for another avatar, whose ``latents``, ``placing`` and ``shots`` are as in the
        constructor."""
        generators = [generator for generator, _ in self._devices]
        return FaceBatchGenerator(
            generators[0], latents, placing, replicas=generators[1:], has_half_rate=self._has_half_rate, shots=shots
        )

    def clone_for(self, placing: Callable[[int], Placing]) -> FaceBatchGenerator:
        """The same faces placed elsewhere; generators and prefix caches are shared."""
        other = copy.copy(self)
        other._placing = placing
        return other

    def warm_up(self, batch_size: int) -> bool:
        """Prepare every device for batches of up to ``batch_size`` frames. False where memory was not enough."""
        is_ready = [
            generator.warm_up(prefix_cache, generator.sizes_up_to(batch_size))
            for generator, prefix_cache in self._devices
        ]
        return all(is_ready)


def expected_sizes(batch_size: int, *, has_half_rate: bool) -> tuple[int, ...]:
    """The batch sizes of the network for batches of up to ``batch_size`` frames that all speak.

    At half rate these are the sizes for ``batch_size`` and all powers of two below.
    """
    if not has_half_rate:
        return (batch_size,)
    lengths = {batch_size, *(size for size in CUDA_SIZES if size < batch_size)}
    return tuple(sorted({len(choose_generated(range(length))) for length in lengths}))


def choose_generated(rows: Sequence[int], shots: Sequence[int] | None = None) -> list[int]:
    """Of ascending ``rows`` those that cannot be averaged: every second one of a run, and its last.

    ``shots``: of every row; a run ends with its shot.
    """

    def follows(row: int, other: int | None) -> bool:
        return other == row + 1 and (shots is None or shots[row] == shots[other])

    generated: list[int] = []
    for row, following in zip_longest(rows, rows[1:]):
        is_between = bool(generated) and follows(generated[-1], row) and follows(row, following)
        generated += [] if is_between else [row]
    return generated


def average(first: ByteArray, second: ByteArray) -> ByteArray:
    return as_bytes(cv2.addWeighted(first, 0.5, second, 0.5, 0.0))
