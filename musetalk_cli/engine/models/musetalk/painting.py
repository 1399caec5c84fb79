"""An avatar's latents and what the sound says → faces: the nets' calls, batched, on their device."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from musetalk_cli.engine.colour import as_bytes
from musetalk_cli.engine.messages import ByteArray, FloatArray
from musetalk_cli.engine.models.musetalk.blend import Box
from musetalk_cli.engine.models.musetalk.loading import Nets
from musetalk_cli.engine.models.musetalk.positions import position_code
from musetalk_cli.engine.models.musetalk.vae import VaeEncoder, encode_avatar, to_bgr
from musetalk_cli.errors import ModelError

FACE_PX = 256

log = logging.getLogger(__name__)


def crop_face(picture: ByteArray, box: Box) -> ByteArray:
    """The part of a BGR picture that the nets see: uint8 (256, 256, 3), its sides stretched apart, Lanczos-4."""
    part = picture[box.top : box.bottom, box.left : box.right]
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


class FacePainter:
    """The nets' calls. Several threads may ask; one batch is made at a time, as the nets use the whole device.

    When the device's memory does not hold a batch, smaller ones are made from then on, which is logged once.
    """

    def __init__(self, nets: Nets) -> None:
        self._nets = nets
        weight = nets.unet.conv_in.weight
        self._device, self._dtype = weight.device, weight.dtype
        self._dim = nets.unet.config.audio_dim
        self._max_batch = 1 << 16
        self._positions: dict[int, Tensor] = {}
        self._lock = threading.Lock()

    def hold(self, latents: Tensor) -> Tensor:
        """The same latents where and as ``paint`` takes them."""
        return latents.to(self._device, self._dtype)

    def paint(self, latents: Tensor, features: FloatArray) -> ByteArray:
        """Latents (n, 8, 32, 32) as held, ``features`` float32 (n, tokens · dim) → uint8 BGR (n, 256, 256, 3).

        Raises ModelError when there is not even memory for one face.
        """
        with self._lock:
            return self._paint_all(latents, features)

    def _paint_all(self, latents: Tensor, features: FloatArray) -> ByteArray:
        parts: list[ByteArray] = []
        done = 0
        while done < len(features):
            part = slice(done, done + min(self._max_batch, len(features) - done))
            try:
                parts.append(self._paint(latents[part], features[part]))
                done = part.stop
            except torch.OutOfMemoryError:
                self._shrink(part.stop - part.start)
        return np.concatenate(parts) if parts else np.zeros((0, FACE_PX, FACE_PX, 3), np.uint8)

    @torch.inference_mode()
    def _paint(self, latents: Tensor, features: FloatArray) -> ByteArray:
        tokens = torch.from_numpy(features).reshape(len(features), -1, self._dim).to(self._device, self._dtype)
        tokens = tokens + self._position_code(tokens.shape[1])
        faces = self._nets.decoder(self._nets.unet(latents, tokens))
        return as_bytes(to_bgr(faces).cpu().numpy())

    def _position_code(self, num_tokens: int) -> Tensor:
        if num_tokens not in self._positions:
            self._positions[num_tokens] = position_code(num_tokens, self._dim).to(self._device, self._dtype)
        return self._positions[num_tokens]

    def _shrink(self, failed: int) -> None:
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        if failed == 1:
            raise ModelError(
                f"not enough memory on {self._device} to make a single face",
                hint="close other programs that use it, or choose another --device",
            )
        if self._max_batch > failed:
            log.warning("not enough memory on %s for %d faces at once; making fewer", self._device, failed)
        self._max_batch = min(self._max_batch, failed // 2)
