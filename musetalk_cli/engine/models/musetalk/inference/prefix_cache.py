"""Caches the UNet's prefix of an avatar's frames: the layers that depend on the frame alone, not on the audio."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from musetalk_cli.engine.models.musetalk.inference.transfers import Upload
from musetalk_cli.engine.models.musetalk.nets.attention import TransformerPrefix
from musetalk_cli.engine.models.musetalk.nets.unet import UNetPrefix

# 102 frames in half precision, 51 in full: a still or a short cycle fits. See docs/performance.md.
CACHE_BYTES = 1 << 28
# Frames that ``fill`` encodes together.
ENCODE_BATCH_SIZE = 8

log = logging.getLogger(__name__)


class Prefixes(Protocol):
    """Where the prefixes of a batch come from."""

    def get(self, indices: Sequence[int]) -> UNetPrefix:
        """The prefixes with these indices, (len(indices), …). In inference mode, one thread at a time."""


class UNetPrefixCache:
    """The prefixes of one avatar's frames on one device. One thread at a time.

    The first frames are cached until ``limit_bytes`` are full, and are never evicted: an avatar runs forward and back,
    so evicting the least recently used would not lead to more hits.
    """

    def __init__(
        self,
        encode_prefix: Callable[[Tensor], UNetPrefix],
        latents: Tensor,
        upload: Upload,
        limit_bytes: int = CACHE_BYTES,
    ) -> None:
        """``latents`` (n, 8, h, w) on the device and in the precision of ``encode_prefix``; ``upload`` copies an array
        to that device."""
        self._encode_prefix = encode_prefix
        self._latents = latents
        self._upload = upload
        self._limit_bytes = limit_bytes
        self._rows: dict[int, int] = {}  # by avatar frame
        self._store: list[Tensor] = []

    def get(self, indices: Sequence[int]) -> UNetPrefix:
        """The prefixes of these avatar frames, (len(indices), …)."""
        new = [index for index in dict.fromkeys(indices) if index not in self._rows]
        if new and not (self._has_room(len(new)) and self._add(new)):
            return self._encode(indices)
        # Not by plain indexing, whose indices go to a GPU on its own stream and wait there for the batch before.
        rows = self._upload(np.array([self._rows[index] for index in indices], np.int64))
        return _unflatten([part.index_select(0, rows) for part in self._store])

    def fill(self) -> None:
        """Encode as many frames as fit into the cache, in the avatar's order."""
        self.get([0])
        num_rows = len(self._store[0]) if self._store else 0
        for start in range(0, num_rows, ENCODE_BATCH_SIZE):
            self.get(range(start, min(start + ENCODE_BATCH_SIZE, num_rows)))

    def _encode(self, indices: Sequence[int]) -> UNetPrefix:
        return self._encode_prefix(self._latents.index_select(0, self._upload(np.array(indices, np.int64))))

    def _has_room(self, count: int) -> bool:
        """False where ``count`` more frames are certainly too many."""
        return len(self._rows) + count <= len(self._store[0]) if self._store else self._limit_bytes > 0

    def _add(self, new: list[int]) -> bool:
        """Whether there was room for all of them."""
        parts = _flatten(self._encode(new))
        if not self._store and not self._allocate(parts):
            return False
        first = len(self._rows)
        if first + len(new) > len(self._store[0]):
            return False
        for stored, part in zip(self._store, parts, strict=True):
            stored[first : first + len(new)] = part
        self._rows |= {index: first + offset for offset, index in enumerate(new)}
        return True

    def _allocate(self, parts: Sequence[Tensor]) -> bool:
        """Allocate memory for as many frames as the limit allows. Where that fails, nothing is cached from then on."""
        num_rows = min(len(self._latents), self._limit_bytes // bytes_per_frame(parts))
        try:
            self._store = [part.new_empty((num_rows, *part.shape[1:])) for part in parts]
        except torch.OutOfMemoryError:
            self._limit_bytes = 0
            log.warning("not enough memory to cache the UNet's prefix, which makes batches a little slower")
        return bool(self._store)


class JoinedPrefixes:
    """The prefixes of some frames of several avatars, for one batch: each is an avatar's cache and its frame."""

    def __init__(self, frames: Sequence[tuple[UNetPrefixCache, int]]) -> None:
        self._frames = frames

    def get(self, rows: Sequence[int]) -> UNetPrefix:
        """The prefixes of these of the frames, (len(rows), …)."""
        wanted = [self._frames[row] for row in rows]
        runs = [list(run) for _, run in groupby(wanted, key=lambda frame: id(frame[0]))]
        prefixes = [run[0][0].get([index for _, index in run]) for run in runs]
        if len(prefixes) == 1:
            return prefixes[0]
        return _unflatten([torch.cat(parts) for parts in zip(*map(_flatten, prefixes), strict=True)])


def bytes_per_frame(parts: Sequence[Tensor]) -> int:
    return sum(part[0].nbytes for part in parts)


def _flatten(prefix: UNetPrefix) -> list[Tensor]:
    """Feature maps become (B, h, w, C), their order in memory."""
    skip, (residual, tokens, query) = prefix
    return [skip.permute(0, 2, 3, 1), residual.permute(0, 2, 3, 1), tokens, query]


def _unflatten(parts: list[Tensor]) -> UNetPrefix:
    skip, residual, tokens, query = parts
    return UNetPrefix(skip.permute(0, 3, 1, 2), TransformerPrefix(residual.permute(0, 3, 1, 2), tokens, query))
