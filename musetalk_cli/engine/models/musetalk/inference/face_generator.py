"""An avatar's latents and audio features → faces: calls the nets in batches on one device."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from musetalk_cli.engine.models.musetalk.audio.windows import STEPS_PER_FRAME
from musetalk_cli.engine.models.musetalk.checkpoints.loading import Nets
from musetalk_cli.engine.models.musetalk.face.blend import FACE_PX
from musetalk_cli.engine.models.musetalk.inference.audio_kv import AudioKVProjector
from musetalk_cli.engine.models.musetalk.inference.forward_pass import ForwardPass
from musetalk_cli.engine.models.musetalk.inference.prefix_cache import JoinedPrefixes, Prefixes, UNetPrefixCache
from musetalk_cli.engine.models.musetalk.inference.transfers import Collect, make_transfers
from musetalk_cli.engine.models.musetalk.nets.vae import VaeEncoder, encode_avatar
from musetalk_cli.engine.runtime.batch_scheduler import BatchScheduler
from musetalk_cli.engine.types.messages import ByteArray, Deadline, FloatArray
from musetalk_cli.errors import ModelError

MAX_SHARED = 8

log = logging.getLogger(__name__)


class FaceEncoder:
    """Face crops → the latents that ``FaceGenerator`` takes. Used once per avatar."""

    def __init__(self, net: VaeEncoder) -> None:
        self._net = net
        weight = net.quant_conv.weight
        self._device, self._dtype = weight.device, weight.dtype

    @torch.inference_mode()
    def encode(self, crops: Sequence[ByteArray]) -> Tensor:
        """uint8 BGR (256, 256, 3) each → (n, 8, 32, 32) on the device; one by one, as the VAE needs much memory."""
        latents = [self._encode_one(crop) for crop in crops]
        return torch.cat(latents)

    def _encode_one(self, crop: ByteArray) -> Tensor:
        rgb = torch.from_numpy(np.ascontiguousarray(crop[:, :, ::-1])).to(self._device)
        return encode_avatar(self._net, rgb.permute(2, 0, 1)[None].to(self._dtype) / 255.0)


class PendingBatch(NamedTuple):
    """A batch that was submitted and may still be computed."""

    parts: tuple[Collect, ...]

    def collect(self) -> ByteArray:
        """Wait for it: uint8 BGR (n, 256, 256, 3)."""
        images = [part() for part in self.parts]
        if len(images) == 1:
            return images[0]
        return np.concatenate(images) if images else np.zeros((0, FACE_PX, FACE_PX, 3), np.uint8)


class SharedFace(NamedTuple):
    """A face to generate, of any avatar: ``features`` float32 (tokens · dim,)."""

    prefix_cache: UNetPrefixCache
    avatar_frame: int
    features: FloatArray


class FaceGenerator:
    """Calls the nets. Several threads may submit batches; they are queued one at a time, as each uses the whole device.

    On a CUDA device ``submit`` returns before the batch is computed, so that the next one can be queued and the faces
    of the last one placed meanwhile. When a batch does not fit into the device's memory, batches are smaller from then
    on, and a warning is logged once.
    """

    def __init__(
        self, nets: Nets, *, is_compiled: bool = False, expected_sizes: Sequence[int] = (), max_shared: int = MAX_SHARED
    ) -> None:
        """``is_compiled`` and ``expected_sizes`` as ``ForwardPass`` takes them; ``max_shared``: the most faces that
        ``generate_shared`` computes together."""
        self._nets = nets
        weight = nets.unet.conv_in.weight
        self._device, self._dtype = weight.device, weight.dtype
        self._forward_pass = ForwardPass(nets, self._device, is_compiled=is_compiled, expected_sizes=expected_sizes)
        self._audio_kv = AudioKVProjector(nets.unet, nets.whisper.config.num_levels)
        self._transfers = make_transfers(self._device)
        sizes = self._forward_pass.sizes
        self._max_batch = sizes[-1] if sizes else 1 << 16
        self._lock = threading.Lock()
        self._scheduler = BatchScheduler[SharedFace, ByteArray](self._generate_faces, max_shared)

    def to_device(self, latents: Tensor) -> Tensor:
        """The latents on the nets' device and in their precision, as ``generate`` takes them."""
        return latents.to(self._device, self._dtype)

    def build_prefix_cache(self, latents: Tensor) -> UNetPrefixCache:
        """A cache of the UNet's prefixes for an avatar's latents (n, 8, 32, 32), as ``submit`` takes it; still empty.

        ``latents`` may be on any device.
        """
        return UNetPrefixCache(self._nets.unet.encode_prefix, self.to_device(latents), self._transfers.upload)

    def generate(self, latents: Tensor, features: FloatArray) -> ByteArray:
        """Latents (n, 8, 32, 32) on the device, ``features`` float32 (n, tokens · dim) → uint8 BGR (n, 256, 256, 3).

        Raises ModelError when there is not enough memory for a single face.
        """
        uncached = UNetPrefixCache(self._nets.unet.encode_prefix, latents, self._transfers.upload, limit_bytes=0)
        return self.submit(uncached, range(len(features)), features).collect()

    def submit(self, prefixes: Prefixes, frames: Sequence[int], features: FloatArray) -> PendingBatch:
        """Queue a batch: one face for each of ``frames`` in ``prefixes`` and row of ``features``, (n, tokens · dim).

        Raises ModelError when there is not enough memory for a single face.
        """
        with self._lock, self._on_device():
            return PendingBatch(tuple(self._submit_all(prefixes, frames, features)))

    def generate_shared(
        self,
        caller: Hashable,
        prefix_cache: UNetPrefixCache,
        frames: Sequence[int],
        features: FloatArray,
        deadline: Deadline | None,
    ) -> ByteArray:
        """The faces of a batch, uint8 BGR (n, 256, 256, 3), which may be computed together with those of others.

        Args:
            caller: who asks; callers take turns where their deadlines are equal.
            prefix_cache: the avatar's.
            frames: one avatar frame for each face.
            features: float32 (n, tokens · dim).
            deadline: when the faces are due.

        Raises:
            CancelledError: nobody wants the faces any more.
            ModelError: there is not enough memory for a single face.
        """
        items = [SharedFace(prefix_cache, frame, row) for frame, row in zip(frames, features, strict=True)]
        futures = self._scheduler.submit(caller, items, deadline)
        return np.stack([future.result() for future in futures]) if futures else PendingBatch(()).collect()

    def _generate_faces(self, faces: Sequence[SharedFace]) -> list[ByteArray]:
        # Faces of one avatar lie side by side, so that its cache is asked once.
        rows = sorted(range(len(faces)), key=lambda row: id(faces[row].prefix_cache))
        ordered = [faces[row] for row in rows]
        prefixes = JoinedPrefixes([(face.prefix_cache, face.avatar_frame) for face in ordered])
        features = np.stack([face.features for face in ordered])
        images = self.submit(prefixes, range(len(ordered)), features).collect()
        by_row = dict(zip(rows, images, strict=True))
        return [by_row[row] for row in range(len(faces))]

    @torch.inference_mode()
    def warm_up(self, prefix_cache: UNetPrefixCache, sizes: Sequence[int]) -> bool:
        """Fill the cache, and compile or capture batches of these sizes. False where memory was not enough for all.

        The largest size comes first, as the others share its memory.
        """
        with self._lock, self._on_device():
            is_ready = [self._try(prefix_cache.fill)]
            is_ready += [self._try(self._warm_up, prefix_cache, size) for size in sorted(sizes, reverse=True)]
            return all(is_ready)

    def _warm_up(self, prefix_cache: UNetPrefixCache, size: int) -> None:
        dim = STEPS_PER_FRAME * self._nets.whisper.config.num_levels * self._nets.unet.config.audio_dim
        audio_kv = self._audio_kv.project(np.zeros((size, dim), np.float32), self._transfers.upload)
        self._forward_pass.warm_up(prefix_cache.get([0] * size), audio_kv)

    def _try(self, step: Callable[..., None], *args: Any) -> bool:
        """Whether there was enough memory for it."""
        try:
            step(*args)
        except torch.OutOfMemoryError:
            pass
        else:
            return True
        self._free()  # behind the except clause, in which the error's traceback still refers to the tensors
        return False

    def _submit_all(self, prefixes: Prefixes, frames: Sequence[int], features: FloatArray) -> list[Collect]:
        parts: list[Collect] = []
        done = 0
        while done < len(features):
            part = slice(done, done + min(self._max_batch, len(features) - done))
            try:
                parts.append(self._submit_part(prefixes, frames[part], features[part]))
                done = part.stop
            except torch.OutOfMemoryError:
                self._shrink(part.stop - part.start)
        return parts

    @torch.inference_mode()
    def _submit_part(self, prefixes: Prefixes, frames: Sequence[int], features: FloatArray) -> Collect:
        count = len(features)
        padding = self._padded_size(count) - count
        if padding:
            frames = [*frames, *[frames[-1]] * padding]
            features = np.concatenate([features, features[-1:].repeat(padding, axis=0)])
        audio_kv = self._audio_kv.project(features, self._transfers.upload)
        images = self._forward_pass.run(prefixes.get(frames), audio_kv)
        return self._transfers.download(images[:count])

    def _on_device(self) -> AbstractContextManager[object]:
        return torch.cuda.device(self._device) if self._device.type == "cuda" else nullcontext()

    def sizes_up_to(self, batch_size: int) -> tuple[int, ...]:
        """The sizes to which batches of up to ``batch_size`` are padded; empty where none is."""
        return tuple(size for size in self._forward_pass.sizes if size <= self._padded_size(batch_size))

    def _padded_size(self, count: int) -> int:
        return next((size for size in self._forward_pass.sizes if size >= count), count)

    def _free(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _shrink(self, failed: int) -> None:
        self._free()
        if failed == 1:
            raise ModelError(
                f"not enough memory on {self._device} to make a single face",
                hint="close other programs that use it, or choose another device",
            )
        if self._max_batch > failed:
            log.warning("not enough memory on %s for a batch of %d faces; making it smaller", self._device, failed)
        self._max_batch = min(self._max_batch, failed // 2)
