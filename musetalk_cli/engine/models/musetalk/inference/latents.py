"""An avatar's frames as the UNet takes them: encoded once, then cached beside the avatar."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from musetalk_cli.engine.avatar.avatar import Avatar
from musetalk_cli.engine.models.musetalk.face.avatar_cache import LATENTS, ArrayLayout, AvatarCache, make_key
from musetalk_cli.engine.models.musetalk.face.blend import Box, crop_face
from musetalk_cli.engine.models.musetalk.face.face_parts import FaceParts
from musetalk_cli.engine.models.musetalk.inference.face_generator import FaceEncoder

LATENT_SHAPE = (8, 32, 32)
# Raised when the same frame and weights come out differently.
METHOD = 2


def avatar_latents(
    avatar: Avatar,
    parts: FaceParts,
    open_encoder: Callable[[], FaceEncoder],
    cache: AvatarCache,
    weights_sha256: str,
    *,
    dtype: torch.dtype = torch.float32,
    made_with: Mapping[str, Any] | None = None,
) -> Tensor:
    """The latents of every frame of an avatar in its own size: cached ones, else encoded and cached.

    Both are rounded alike, so that a face does not depend on which it was.

    Args:
        avatar: whose frames are encoded.
        parts: its face boxes.
        open_encoder: called when something is to be encoded.
        cache: where the latents are cached; its ``tell`` is told of the work.
        weights_sha256: of the encoder's weights: other weights have latents of their own.
        dtype: the encoder's: another precision has latents of its own, too.
        made_with: what else decides them, as JSON has it: the model's version, the encoder's settings.

    Returns:
        float16 (n, 8, 32, 32) on the CPU, or float32 of an encoder in another precision than fp16: the
        distribution's mode, of the masked and of the whole image, scaled.

    Raises:
        AvatarError: a frame cannot be read.
    """
    recipe = {"method": METHOD, "precision": str(dtype).removeprefix("torch."), **(made_with or {})}
    key, count = make_key(recipe, weights_sha256, parts.boxes), avatar.frames.num_frames
    # NumPy has no bfloat16: float32 holds its values.
    stored, kind = (torch.float16, np.float16) if dtype == torch.float16 else (torch.float32, np.float32)
    cached = cache.load(LATENTS, key, {LATENTS: ArrayLayout(kind, (count, *LATENT_SHAPE))})
    if cached is not None:
        return torch.from_numpy(cached[LATENTS])
    if count > 1:
        once = " once; the result is cached" if cache.folder else ""
        cache.tell(f"encoding the {count} frames of avatar '{avatar.name}'{once}")
    encoder = open_encoder()
    boxes = [Box(*map(int, box)) for box in parts.boxes]
    latents = torch.cat(
        [
            encoder.encode([crop_face(avatar.frames.image(index), box)]).to(stored).cpu()
            for index, box in enumerate(boxes)
        ]
    )
    cache.store(LATENTS, key, {LATENTS: latents.numpy()})
    return latents
