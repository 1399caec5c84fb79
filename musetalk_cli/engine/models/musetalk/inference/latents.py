"""An avatar's images as the UNet takes them: made once, then kept beside the avatar."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from musetalk_cli.engine.avatar.avatar import Avatar
from musetalk_cli.engine.models.musetalk.face.blend import Box
from musetalk_cli.engine.models.musetalk.face.face_parts import FaceParts, load_latents, store_latents
from musetalk_cli.engine.models.musetalk.inference.face_generator import FaceEncoder, crop_face
from musetalk_cli.errors import AvatarError

Tell = Callable[[str], None]


@dataclass(frozen=True)
class KeptPlace:
    """Where what a net made of an avatar's frames is kept: its folder, and the key of the net and the boxes."""

    folder: Path
    key: str

    @classmethod
    def of(cls, folder: Path | None, weights: Path, boxes: NDArray[np.int32]) -> KeptPlace | None:
        """For a net's weights and the boxes int32 (n, 4) that it is shown; None without a folder."""
        if folder is None:
            return None
        return cls(folder, hashlib.sha256(hash_file(weights).encode() + boxes.astype("<i4").tobytes()).hexdigest())


def hash_file(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 22):
            total.update(chunk)
    return total.hexdigest()


def avatar_latents(
    avatar: Avatar,
    parts: FaceParts,
    open_encoder: Callable[[], FaceEncoder],
    place: KeptPlace | None,
    tell: Tell,
) -> Tensor:
    """The latents of every frame of an avatar in its own size: float16 (n, 8, 32, 32) on the CPU.

    Those that are kept are taken, others are made and kept, if that is possible. Both are rounded alike, so that a face
    does not depend on which it was. Raises AvatarError for a damaged file or a frame that cannot be read.
    """
    kept = load_latents(place.folder, place.key) if place else None
    if kept is not None:
        return torch.from_numpy(np.array(kept))
    count = avatar.frames.num_frames
    if count > 1:
        tell(f"encoding the {count} frames of avatar '{avatar.name}'{' once; they are kept' if place else ''}")
    encoder = open_encoder()
    boxes = [Box(*map(int, box)) for box in parts.boxes]
    latents = torch.cat(
        [encoder.encode([crop_face(avatar.frames.image(index), box)]).half().cpu() for index, box in enumerate(boxes)]
    )
    if place:
        try:
            store_latents(place.folder, place.key, np.asarray(latents.numpy(), np.float16))
        except AvatarError as error:
            tell(f"the encoded frames are not kept: {error}")
    return latents
