"""Where the face is in every avatar frame, and how much of it is replaced: boxes and masks, derived from landmarks."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.avatar import Avatar
from musetalk_cli.engine.avatar.avatar_files import read_record
from musetalk_cli.engine.models.musetalk.face.avatar_cache import FACE_PARTS, ArrayLayout, AvatarCache, make_key
from musetalk_cli.engine.models.musetalk.face.boxes import EXTRA_MARGIN_PX, drawn_face_box, face_boxes
from musetalk_cli.engine.models.musetalk.face.masks import MASK_PX, MaskSettings, face_mask
from musetalk_cli.engine.types.colour import ByteArray
from musetalk_cli.errors import AvatarError

# Raised when boxes or masks come out differently for the same landmarks and settings.
METHOD = 1


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


@dataclass(frozen=True)
class PartSettings:
    """``extra_margin_px`` is how far boxes reach below the chin."""

    extra_margin_px: int = EXTRA_MARGIN_PX
    mask: MaskSettings = field(default_factory=MaskSettings)


def face_parts(avatar: Avatar, settings: PartSettings, cache: AvatarCache) -> FaceParts:
    """The boxes and masks of an avatar in its own size, moved by the ``bbox_shift`` that it was prepared with: cached
    ones, else derived and cached. Raises AvatarError when the avatar's record cannot be read.

    A drawn portrait has neither a mesh nor a folder, so nothing of it is cached.
    """
    if avatar.points is None or cache.folder is None:
        return derive_face_parts(avatar, settings)
    shift_px = int(read_record(cache.folder).parameters.get("bbox_shift", 0))
    size, count = (avatar.width, avatar.height), avatar.frames.num_frames
    key = make_key({**asdict(settings), "bbox_shift": shift_px, "size": size, "method": METHOD}, avatar.points)
    layout = {"boxes": ArrayLayout(np.int32, (count, 4)), "masks": ArrayLayout(np.uint8, (count, MASK_PX, MASK_PX))}
    cached = cache.load(FACE_PARTS, key, layout)
    if cached is not None:
        return FaceParts(cached["boxes"], cached["masks"])
    parts = derive_face_parts(avatar, settings, bbox_shift=shift_px)
    cache.store(FACE_PARTS, key, {"boxes": parts.boxes, "masks": parts.masks})
    return parts


def derive_face_parts(avatar: Avatar, settings: PartSettings, *, bbox_shift: int = 0) -> FaceParts:
    """The boxes and masks of an avatar in its own size, from its landmarks; ``bbox_shift`` as in ``face_boxes``."""
    size, margin_px = (avatar.width, avatar.height), settings.extra_margin_px
    if avatar.points is None:
        boxes = np.stack(
            [drawn_face_box(face, size, bbox_shift=bbox_shift, extra_margin_px=margin_px) for face in avatar.landmarks]
        )
    else:
        boxes = face_boxes(avatar.points, size, bbox_shift=bbox_shift, extra_margin_px=margin_px)
    masks = [face_mask(face, box, settings.mask) for face, box in zip(avatar.landmarks, boxes, strict=True)]
    return FaceParts(boxes, np.stack(masks))
