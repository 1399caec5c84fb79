"""What the MuseTalk network needs of every avatar frame, prepared once: boxes, masks, and the frames' latents."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.avatar import Avatar
from musetalk_cli.engine.avatar.avatar_files import PARTS_FILE, read_arrays, read_record
from musetalk_cli.engine.models.musetalk.face.boxes import EXTRA_MARGIN_PX, drawn_face_box, face_boxes
from musetalk_cli.engine.models.musetalk.face.masks import MASK_PX, MaskSettings, face_mask
from musetalk_cli.engine.types.colour import ByteArray
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


@dataclass(frozen=True)
class PartSettings:
    """``extra_margin_px`` is how far boxes reach below the chin."""

    extra_margin_px: int
    mask: MaskSettings


PREPARED = PartSettings(EXTRA_MARGIN_PX, MaskSettings())  # what avatars are prepared with


def face_parts(avatar: Avatar, folder: Path | None, settings: PartSettings) -> FaceParts:
    """The boxes and masks of an avatar in its own size: those in its ``folder`` where they were made with these
    settings, else new ones from its landmarks. Raises AvatarError when the prepared ones are missing or damaged.
    """
    if folder and settings == PREPARED:
        return load_face_parts(folder)
    size, margin_px = (avatar.width, avatar.height), settings.extra_margin_px
    if avatar.points is None:
        boxes = np.stack([drawn_face_box(face, size, extra_margin_px=margin_px) for face in avatar.landmarks])
    else:
        shift = int(read_record(folder).parameters.get("bbox_shift", 0)) if folder else 0
        boxes = face_boxes(avatar.points, size, bbox_shift=shift, extra_margin_px=margin_px)
    masks = [face_mask(face, box, settings.mask) for face, box in zip(avatar.landmarks, boxes, strict=True)]
    return FaceParts(boxes, np.stack(masks))


def load_latents(folder: Path, key: str) -> NDArray[np.float16] | None:
    """The latents float16 (n, 8, 32, 32) that are kept with an avatar under ``key``, which says what made them of
    which boxes; mapped into memory.

    None where there are none yet, or they belong to other frames. Raises AvatarError when the file is damaged.
    """
    path = _latents_path(folder, key)
    try:
        latents = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError) as error:
        raise AvatarError(f"{path} is damaged: {error}", hint="delete it; it is made again") from error
    is_whole = latents.dtype == np.float16 and latents.shape == (read_record(folder).num_frames, *LATENT_SHAPE)
    return latents if is_whole else None


def store_latents(folder: Path, key: str, latents: NDArray[np.float16]) -> None:
    """Keep latents (the distribution's mode, masked and reference image, scaled) beside an avatar.

    They appear whole or not at all. Raises AvatarError when they do not fit the avatar or cannot be written.
    """
    expected = (read_record(folder).num_frames, *LATENT_SHAPE)
    if latents.dtype != np.float16 or latents.shape != expected:
        raise AvatarError(f"latents must be float16 {expected}; found {latents.dtype} {latents.shape}")
    write_kept(_latents_path(folder, key), lambda file: np.save(file, latents, allow_pickle=False))


def write_kept(path: Path, write: Callable[[IO[bytes]], None]) -> None:
    """Write a file of an avatar's folder that appears whole or not at all. Raises AvatarError."""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
            try:
                write(file)
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink()
                raise
    except OSError as error:
        raise AvatarError(f"cannot write {path}: {error.strerror}") from error


def has_latents(folder: Path) -> bool:
    """Whether any VAE's latents are there."""
    return any(folder.glob("latents-*.npy"))


def _latents_path(folder: Path, key: str) -> Path:
    return folder / f"latents-{key[:16]}.npy"
