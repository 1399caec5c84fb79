"""An avatar's latents and what the audio says → faces: the nets' calls, batched, on their device."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from musetalk_cli.engine.models.musetalk.audio.windows import STEPS_PER_FRAME
from musetalk_cli.engine.models.musetalk.checkpoints.loading import Nets
from musetalk_cli.engine.models.musetalk.face.blend import Box
from musetalk_cli.engine.models.musetalk.inference.audio_kv import Sounds
from musetalk_cli.engine.models.musetalk.inference.forward_pass import Drawing
from musetalk_cli.engine.models.musetalk.inference.prefix_cache import Views
from musetalk_cli.engine.models.musetalk.inference.transfers import Collect, make_copies
from musetalk_cli.engine.models.musetalk.nets.vae import VaeEncoder, encode_avatar
from musetalk_cli.engine.types.colour import as_bytes
from musetalk_cli.engine.types.messages import ByteArray, FloatArray
from musetalk_cli.errors import ModelError

FACE_PX = 256

log = logging.getLogger(__name__)


def crop_face(image: ByteArray, box: Box) -> ByteArray:
    """The part of a BGR image that the nets see: uint8 (256, 256, 3), its sides stretched apart, Lanczos-4."""
    part = image[box.top : box.bottom, box.left : box.right]
    return as_bytes(cv2.resize(part, (FACE_PX, FACE_PX), interpolation=cv2.INTER_LANCZOS4))


class FaceEncoder:
    """Face crops → the latents that ``FacePainter`` paints on. Only preparation needs it."""

    def __init__(self, net: VaeEncoder) -> None:
        self._net = net
        weight = net.quant_conv.weight
        self._device, self._dtype = weight.device, weight.dtype

    @torch.inference_mode()
    def encode(self, crops: Sequence[ByteArray]) -> Tensor:
        """uint8 BGR (256, 256, 3) each → (n, 8, 32, 32) on the device; one after the other, the VAE being large."""
        latents = [self._encode_one(crop) for crop in crops]
        return torch.cat(latents)

    def _encode_one(self, crop: ByteArray) -> Tensor:
        rgb = torch.from_numpy(np.ascontiguousarray(crop[:, :, ::-1])).to(self._device)
        return encode_avatar(self._net, rgb.permute(2, 0, 1)[None].to(self._dtype) / 255.0)


class Painting(NamedTuple):
    """A batch under way."""

    parts: tuple[Collect, ...]

    def collect(self) -> ByteArray:
        """Wait for it: uint8 BGR (n, 256, 256, 3)."""
        made = [part() for part in self.parts]
        if len(made) == 1:
            return made[0]
        return np.concatenate(made) if made else np.zeros((0, FACE_PX, FACE_PX, 3), np.uint8)


class FacePainter:
    """The nets' calls. Several threads may ask; one batch is sent at a time, as the nets use the whole device.

    On a CUDA device ``submit`` returns while the batch is being made, so that the next one can be sent and the last
    one's faces put in their places meanwhile. When the device's memory does not hold a batch, smaller ones are made
    from then on, which is logged once.
    """

    def __init__(self, nets: Nets, *, is_compiled: bool = False, asked_sizes: Sequence[int] = ()) -> None:
        """``is_compiled`` and ``asked_sizes`` as ``Drawing`` takes them."""
        self._nets = nets
        weight = nets.unet.conv_in.weight
        self._device, self._dtype = weight.device, weight.dtype
        self._drawing = Drawing(nets, self._device, is_compiled=is_compiled, asked_sizes=asked_sizes)
        self._audio = Sounds(nets.unet, nets.whisper.config.num_levels)
        self._copies = make_copies(self._device)
        sizes = self._drawing.sizes
        self._max_batch = sizes[-1] if sizes else 1 << 16
        self._lock = threading.Lock()

    def hold(self, latents: Tensor) -> Tensor:
        """The same latents where and as ``paint`` takes them."""
        return latents.to(self._device, self._dtype)

    def watch(self, latents: Tensor) -> Views:
        """An avatar's latents (n, 8, 32, 32) → what ``submit`` picks its frames from."""
        return Views(self._nets.unet.look, self.hold(latents), self._copies.upload)

    def paint(self, latents: Tensor, features: FloatArray) -> ByteArray:
        """Latents (n, 8, 32, 32) as held, ``features`` float32 (n, tokens · dim) → uint8 BGR (n, 256, 256, 3).

        Raises ModelError when there is not even memory for one face.
        """
        views = Views(self._nets.unet.look, latents, self._copies.upload, limit_bytes=0)
        return self.submit(views, range(len(features)), features).collect()

    def submit(self, views: Views, frames: Sequence[int], features: FloatArray) -> Painting:
        """Send a batch: a face for each row of ``features``, on that frame of the avatar. Raises as ``paint`` does."""
        with self._lock, self._on_device():
            return Painting(tuple(self._submit_all(views, frames, features)))

    @torch.inference_mode()
    def warm_up(self, views: Views, sizes: Sequence[int]) -> bool:
        """Do beforehand what the first batches of these sizes would wait for; whether there was memory for them all.

        The largest comes first, as the others share its memory.
        """
        with self._lock, self._on_device():
            is_ready = [self._try(views.fill)]
            is_ready += [self._try(self._warm_up, views, size) for size in sorted(sizes, reverse=True)]
            return all(is_ready)

    def _warm_up(self, views: Views, size: int) -> None:
        dim = STEPS_PER_FRAME * self._nets.whisper.config.num_levels * self._nets.unet.config.audio_dim
        audio = self._audio.hear(np.zeros((size, dim), np.float32), self._copies.upload)
        self._drawing.warm_up(views.pick([0] * size), audio)

    def _try(self, step: Callable[..., None], *args: Any) -> bool:
        """Whether there was memory for it."""
        try:
            step(*args)
        except torch.OutOfMemoryError:
            pass
        else:
            return True
        self._free()  # behind the clause, in which the error still holds on to all that was made
        return False

    def _submit_all(self, views: Views, frames: Sequence[int], features: FloatArray) -> list[Collect]:
        parts: list[Collect] = []
        done = 0
        while done < len(features):
            part = slice(done, done + min(self._max_batch, len(features) - done))
            try:
                parts.append(self._submit_part(views, frames[part], features[part]))
                done = part.stop
            except torch.OutOfMemoryError:
                self._shrink(part.stop - part.start)
        return parts

    @torch.inference_mode()
    def _submit_part(self, views: Views, frames: Sequence[int], features: FloatArray) -> Collect:
        count = len(features)
        filling = self._fit(count) - count
        if filling:
            frames = [*frames, *[frames[-1]] * filling]
            features = np.concatenate([features, features[-1:].repeat(filling, axis=0)])
        images = self._drawing.draw(views.pick(frames), self._audio.hear(features, self._copies.upload))
        return self._copies.download(images[:count])

    def _on_device(self) -> AbstractContextManager[object]:
        return torch.cuda.device(self._device) if self._device.type == "cuda" else nullcontext()

    def sizes_up_to(self, batch_size: int) -> tuple[int, ...]:
        """The sizes in which batches of up to ``batch_size`` are made; none where any will do."""
        return tuple(size for size in self._drawing.sizes if size <= self._fit(batch_size))

    def _fit(self, count: int) -> int:
        """The size in which a batch is made."""
        return next((size for size in self._drawing.sizes if size >= count), count)

    def _free(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _shrink(self, failed: int) -> None:
        self._free()
        if failed == 1:
            raise ModelError(
                f"not enough memory on {self._device} to make a single face",
                hint="close other programs that use it, or choose another --device",
            )
        if self._max_batch > failed:
            log.warning("not enough memory on %s for %d faces at once; making fewer", self._device, failed)
        self._max_batch = min(self._max_batch, failed // 2)
