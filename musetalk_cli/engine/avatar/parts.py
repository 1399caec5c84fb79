"""What the MuseTalk network needs of every avatar frame, prepared once: boxes, masks, and the frames' latents."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.avatar_files import PARTS_FILE, read_arrays, read_record
from musetalk_cli.engine.avatar.boxes import drawn_face_box
from musetalk_cli.engine.avatar.landmarks import Landmarks
from musetalk_cli.engine.avatar.masks import MASK_PX, face_mask
from musetalk_cli.engine.colour import ByteArray
from musetalk_cli.errors import AvatarError

LATENT_SHAPE = (8, 32, 32)


@dataclass(frozen=True)
class FaceParts:
    """``boxes`` int32 (n, 4): left, top, right, bottom in pixels of the stored frames.

    ``masks`` uint8 (n, 64, 64), each to be stretched over its box: 255 where the network's face shows.
    """

    boxes: NDArray[np.int32]
    masks: ByteArray

    def __post_init__(self) -> None:
        if self.boxes.shape != (len(self.masks), 4) or self.masks.shape[1:] != (MASK_PX, MASK_PX):
            raise AvatarError(f"face boxes and masks do not fit: {self.boxes.shape}, {self.masks.shape}")


def load_face_parts(folder: Path) -> FaceParts:
    """A prepared avatar's boxes and masks. Raises AvatarError when they are missing or damaged."""
    record = read_record(folder)
    arrays = read_arrays(folder, record, PARTS_FILE)
    if set(arrays) != {"boxes", "masks"} or len(arrays["masks"]) != record.num_frames:
        raise AvatarError(f"{folder / PARTS_FILE} is damaged: it does not fit the avatar")
    return FaceParts(arrays["boxes"].astype(np.int32), arrays["masks"].astype(np.uint8))


def drawn_face_parts(face: Landmarks, size: tuple[int, int]) -> FaceParts:
    """The same for a drawn portrait of ``size`` (width, height), from its landmarks."""
    box = drawn_face_box(face, size)
    return FaceParts(box[None], face_mask(face, box)[None])


def load_latents(folder: Path, vae_sha256: str) -> NDArray[np.float16] | None:
    """The latents float16 (n, 8, 32, 32) that a VAE with these weights made of an avatar's boxes, mapped into memory.

    None where there are none yet, or they belong to other frames. Raises AvatarError when the file is damaged.
    """
    path = _latents_path(folder, vae_sha256)
    try:
        latents = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError) as error:
        raise AvatarError(f"{path} is damaged: {error}", hint="delete it; it is made again") from error
    is_whole = latents.dtype == np.float16 and latents.shape == (read_record(folder).num_frames, *LATENT_SHAPE)
    return latents if is_whole else None


def store_latents(folder: Path, vae_sha256: str, latents: NDArray[np.float16]) -> None:
    """Keep latents (the distribution's mode, masked and reference picture, scaled) beside an avatar.

    They appear whole or not at all. Raises AvatarError when they do not fit the avatar or cannot be written.
    """
    path, expected = _latents_path(folder, vae_sha256), (read_record(folder).num_frames, *LATENT_SHAPE)
    if latents.dtype != np.float16 or latents.shape != expected:
        raise AvatarError(f"latents must be float16 {expected}; found {latents.dtype} {latents.shape}")
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".latents-", delete=False) as file:
            try:
                np.save(file, latents, allow_pickle=False)
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink()
                raise
    except OSError as error:
        raise AvatarError(f"cannot write {path}: {error.strerror}") from error


def has_latents(folder: Path) -> bool:
    """Whether any VAE's latents are there."""
    return any(folder.glob("latents-*.npy"))


def _latents_path(folder: Path, vae_sha256: str) -> Path:
    return folder / f"latents-{vae_sha256[:16]}.npy"
