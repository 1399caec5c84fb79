"""Which pixels around an avatar's face are skin, lips, nose …: from face parsing, or drawn from landmarks; and the
masks made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.avatar import Avatar
from musetalk_cli.engine.avatar.landmarks import FloatArray
from musetalk_cli.engine.models.musetalk.face.avatar_cache import AvatarCache, make_key
from musetalk_cli.engine.models.musetalk.face.blend import (
    LOWER_LIP,
    MOUTH,
    NECK,
    NOSE,
    SKIN,
    UPPER_LIP,
    Box,
    crop_box,
    mode_mask,
)
from musetalk_cli.engine.models.musetalk.face.class_maps import ClassMaps, load_class_maps, store_class_maps
from musetalk_cli.engine.models.musetalk.face.face_parsing import FaceParser
from musetalk_cli.engine.models.musetalk.face.face_parts import FaceParts
from musetalk_cli.engine.models.musetalk.face.masks import (
    PARSED_PX,
    MaskSettings,
    neck_outline,
    nose_outline,
    soften_mask,
)
from musetalk_cli.engine.models.musetalk.face.placement import MOST_CACHED
from musetalk_cli.engine.types.colour import as_bytes
from musetalk_cli.engine.types.messages import ByteArray

_SUBPIXEL_BITS = 8


class Classes(Protocol):
    """For every frame of an avatar, the class of each pixel in the square around its face box."""

    def __getitem__(self, index: int) -> ByteArray:
        """uint8 (512, 512)."""


class DrawnClasses:
    """The same drawn from landmarks, for lack of face parsing: the face's outline, nose, lips and neck.

    ``boxes`` int32 (n, 4) in pixels of the avatar's own frames.
    """

    def __init__(self, avatar: Avatar, boxes: NDArray[np.int32]) -> None:
        self._landmarks, self._boxes = avatar.landmarks, boxes

    def __getitem__(self, index: int) -> ByteArray:
        face, box = self._landmarks[index], self._boxes[index]
        crop = crop_box(Box(*map(int, box)))
        classes = np.zeros((PARSED_PX, PARSED_PX), np.uint8)
        for value, outline in (
            (NECK, neck_outline(face, box)),
            (SKIN, face.oval),
            (NOSE, nose_outline(face)),
            (UPPER_LIP, np.concatenate([face.outer_upper_lip, face.inner_upper_lip[::-1]])),
            (LOWER_LIP, np.concatenate([face.outer_lower_lip, face.inner_lower_lip[::-1]])),
            (MOUTH, np.concatenate([face.inner_upper_lip, face.inner_lower_lip[::-1]])),
        ):
            _fill(classes, outline, crop, value)
        return classes


def parse_avatar(
    avatar: Avatar,
    boxes: NDArray[np.int32],
    open_parser: Callable[[], FaceParser],
    cache: AvatarCache,
    weights_sha256: str,
) -> ClassMaps:
    """The class maps of every frame of an avatar in its own size: cached ones, else parsed and cached.

    Args:
        avatar: whose frames are parsed.
        boxes: int32 (n, 4), the face box of every frame.
        open_parser: called when something is to be parsed.
        cache: where the maps are cached; its ``tell`` is told of the work.
        weights_sha256: of the parser's weights: other weights have maps of their own.

    Raises:
        AvatarError: a frame cannot be read.
        ModelError: the parser's weights cannot be loaded.
    """
    key, count = make_key({}, weights_sha256, boxes), avatar.frames.num_frames
    cached = load_class_maps(cache, key, count)
    if cached is not None:
        return cached
    if count > 1:
        once = " once; the result is cached" if cache.folder else ""
        cache.tell(f"parsing the {count} frames of avatar '{avatar.name}'{once}")
    parser = open_parser()

    def parse() -> Iterator[ByteArray]:
        for index, box in enumerate(boxes):
            yield parser.parse(cut_square(avatar.frames.image(index), crop_box(Box(*map(int, box)))))

    maps = ClassMaps.pack(parse())
    store_class_maps(cache, key, maps)
    return maps


class ParsedMasks:
    """Masks like those of ``parts``, but of parsed skin and lips; where parsing found no face, those of ``parts``.

    Each is made when it is asked for, in some milliseconds, and cached at least as long as its placement. Several
    threads may ask.
    """

    def __init__(self, maps: ClassMaps, parts: FaceParts, settings: MaskSettings) -> None:
        self._maps, self._parts, self._settings = maps, parts, settings
        self._masks = lru_cache(MOST_CACHED)(self._make)

    def __getitem__(self, index: int) -> ByteArray:
        return self._masks(index)

    def _make(self, index: int) -> ByteArray:
        mask = soften_mask(mode_mask(self._maps[index], self._settings), self._parts.boxes[index])
        return mask if mask.any() else as_bytes(self._parts.masks[index])


def cut_square(image: ByteArray, crop: Box) -> ByteArray:
    """A crop of a BGR image, black where it leaves it."""
    height, width = image.shape[:2]
    inside = crop.clip(width, height)
    over = (inside.top - crop.top, crop.bottom - inside.bottom, inside.left - crop.left, crop.right - inside.right)
    part = image[inside.top : inside.bottom, inside.left : inside.right]
    return as_bytes(cv2.copyMakeBorder(part, *over, cv2.BORDER_CONSTANT))


def _fill(classes: ByteArray, outline: FloatArray, crop: Box, value: int) -> None:
    corner = np.array([crop.left, crop.top])
    points = ((outline - corner + 0.5) * (PARSED_PX / crop.width) - 0.5) * (1 << _SUBPIXEL_BITS)
    cv2.fillPoly(classes, [np.round(points).astype(np.int32)], value, cv2.LINE_8, _SUBPIXEL_BITS)
