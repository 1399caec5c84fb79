"""What the UNet sees of an avatar's frames before any audio, kept for when they come round again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from musetalk_cli.engine.models.musetalk.inference.transfers import Upload
from musetalk_cli.engine.models.musetalk.nets.attention import Looked
from musetalk_cli.engine.models.musetalk.nets.unet import View

# 102 frames in half precision, 51 in full: an image or a short cycle is kept whole. See docs/performance.md.
KEPT_BYTES = 1 << 28
# Frames that are looked at together where all are wanted beforehand.
LOOK_BATCH = 8

log = logging.getLogger(__name__)


class Views:
    """One avatar's, for one device. One thread at a time.

    The frames that come first are kept until ``limit_bytes`` are full, and stay: an avatar runs forward and back, so
    throwing out the oldest would not find more of them, and would move memory about for it.
    """

    def __init__(
        self, look: Callable[[Tensor], View], latents: Tensor, upload: Upload, limit_bytes: int = KEPT_BYTES
    ) -> None:
        """``latents`` (n, 8, h, w) where and as ``look`` takes them; ``upload`` brings an array there."""
        self._look = look
        self._latents = latents
        self._upload = upload
        self._limit_bytes = limit_bytes
        self._rows: dict[int, int] = {}
        self._store: list[Tensor] = []

    def pick(self, indices: Sequence[int]) -> View:
        """What is seen of these avatar frames, (len(indices), …)."""
        new = [index for index in dict.fromkeys(indices) if index not in self._rows]
        if new and not (self._has_room(len(new)) and self._keep(new)):
            return self._look_at(indices)
        # Not by plain indexing, whose indices go to a GPU on its own stream and wait there for the batch before.
        rows = self._upload(np.array([self._rows[index] for index in indices], np.int64))
        return _unflatten([part.index_select(0, rows) for part in self._store])

    def fill(self) -> None:
        """Look at all the frames that can be kept, in the order of the avatar."""
        self.pick([0])
        num_kept = len(self._store[0]) if self._store else 0
        for start in range(0, num_kept, LOOK_BATCH):
            self.pick(range(start, min(start + LOOK_BATCH, num_kept)))

    def _look_at(self, indices: Sequence[int]) -> View:
        return self._look(self._latents.index_select(0, self._upload(np.array(indices, np.int64))))

    def _has_room(self, count: int) -> bool:
        """False where so many more are certainly too many."""
        return len(self._rows) + count <= len(self._store[0]) if self._store else self._limit_bytes > 0

    def _keep(self, new: list[int]) -> bool:
        """Whether there was room for all of them."""
        parts = _flatten(self._look_at(new))
        if not self._store and not self._reserve(parts):
            return False
        first = len(self._rows)
        if first + len(new) > len(self._store[0]):
            return False
        for kept, part in zip(self._store, parts, strict=True):
            kept[first : first + len(new)] = part
        self._rows |= {index: first + offset for offset, index in enumerate(new)}
        return True

    def _reserve(self, parts: Sequence[Tensor]) -> bool:
        """Make room for as many frames as may be kept. Without memory for it, none are from then on."""
        num_rows = min(len(self._latents), self._limit_bytes // bytes_per_frame(parts))
        try:
            self._store = [part.new_empty((num_rows, *part.shape[1:])) for part in parts]
        except torch.OutOfMemoryError:
            self._limit_bytes = 0
            log.warning("not enough memory to keep what is seen of an avatar, which makes batches a little slower")
        return bool(self._store)


def bytes_per_frame(parts: Sequence[Tensor]) -> int:
    return sum(part[0].nbytes for part in parts)


def _flatten(view: View) -> list[Tensor]:
    """Images as (B, h, w, C), which is how they lie in memory."""
    entry, (image, tokens, query) = view
    return [entry.permute(0, 2, 3, 1), image.permute(0, 2, 3, 1), tokens, query]


def _unflatten(parts: list[Tensor]) -> View:
    entry, image, tokens, query = parts
    return View(entry.permute(0, 3, 1, 2), Looked(image.permute(0, 3, 1, 2), tokens, query))
