"""Inputs of the preparation: an image, a video, or a folder of images, read as frames one by one."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from musetalk_cli.engine.avatar.frames import resize_image
from musetalk_cli.engine.avatar.inputs.animations import AnimationFile
from musetalk_cli.engine.avatar.inputs.clip import WHITE, ClipSettings
from musetalk_cli.engine.avatar.inputs.images import (
    is_moving,
    list_images,
    read_head,
    read_image,
    shrink_image,
)
from musetalk_cli.engine.avatar.inputs.video import VideoFile
from musetalk_cli.engine.avatar.library import explain_address
from musetalk_cli.engine.runtime.files import find_similar, update_digest
from musetalk_cli.engine.types.colour import ByteArray, bgr_to_planes, planes_to_i420
from musetalk_cli.engine.types.signatures import looks_like_image
from musetalk_cli.errors import AvatarError, system_words
from musetalk_cli.option_names import option

# Where the shapes of two images differ by more than this, they were not taken for one clip.
MAX_SHAPE_DIFFERENCE = 0.02


class FrameSource(Protocol):
    """Frames as planar I420, uint8 (height · 3/2, width), all of one even size; iterate once, then close.

    ``num_frames``: how many are expected, None where it is not known. ``decode_error``, after the last frame: why there
    were not more, empty when all is well.
    """

    num_frames: int | None
    decode_error: str

    def __iter__(self) -> Iterator[ByteArray]:
        """Yield the frames. Raises AvatarError."""

    def close(self) -> None:
        """Release everything; an iteration under way ends."""


class ImageFolder:
    """A folder's images by name, each a frame; images of another size than the first are resized to it."""

    decode_error = ""

    def __init__(self, folder: Path, clip: ClipSettings) -> None:
        rate = clip.frame_rate
        paths = list_images(folder)[round(clip.start_s * rate) :]
        self._paths = paths[: max(1, round(clip.length_s * rate))]
        if not self._paths:
            raise AvatarError(
                f"{folder} has no image after {clip.start_s:g} s", hint=f"give a smaller {option('--start')}"
            )
        self._height_px, self._background = clip.height_px, clip.background
        self.num_frames: int | None = len(self._paths)

    def __iter__(self) -> Iterator[ByteArray]:
        size = None
        for path in self._paths:
            image = read_still(path, self._height_px, self._background)
            height, width = image.shape[:2]
            size = size or (width, height)
            if abs(width * size[1] / (height * size[0]) - 1) > MAX_SHAPE_DIFFERENCE:
                raise AvatarError(
                    f"{path} is {width} × {height} pixels, but the images before it are {size[0]} × {size[1]}",
                    hint="the images of a folder are the frames of one clip, all of one shape",
                )
            yield planes_to_i420(bgr_to_planes(resize_image(image, *size)))

    def close(self) -> None:
        """Nothing to release."""


def read_still(source: Path, height_px: int | None, background: tuple[int, int, int] = WHITE) -> ByteArray:
    """An image, or a folder's only one, as BGR, no higher than ``height_px``. Raises AvatarError."""
    image = read_image(list_images(source)[0] if source.is_dir() else source, background)
    return image if height_px is None else shrink_image(image, height_px)


def is_still(source: Path) -> bool:
    """Whether ``source`` is one image. Raises AvatarError when it cannot be read."""
    if source.is_dir():
        return len(list_images(source)) == 1
    try:
        return looks_like_image(read_head(source)) and not is_moving(source)
    except OSError as error:
        raise AvatarError(f"cannot read {source}: {system_words(error)}") from error


def open_frames(source: Path, ffmpeg: str, clip: ClipSettings) -> FrameSource:
    """The frames of a video, an animation or a folder of images. Raises AvatarError."""
    if source.is_dir():
        return ImageFolder(source, clip)
    return AnimationFile(source, clip) if looks_like_image(read_head(source)) else VideoFile(source, ffmpeg, clip)


def check_source(source: Path) -> None:
    """Raise AvatarError, saying what is wrong, for something that cannot even be opened."""
    if address := re.match(r"([a-z][a-z0-9+.-]+):/+(?=\w)", text := source.as_posix(), re.IGNORECASE):
        raise explain_address(f"{address[1]}://{text[address.end() :]}")  # a path has lost one of its slashes
    try:
        if not source.exists():
            raise AvatarError(f"{source} does not exist", hint=find_similar(source))
        if source.is_dir():
            return
        if not source.is_file():
            raise AvatarError(f"{source} is not a file", hint="an avatar is made from a file that can be read twice")
        if source.stat().st_size == 0:
            raise AvatarError(f"{source} is empty", hint="give another file")
        source.open("rb").close()
    except (OSError, ValueError) as error:
        raise AvatarError(f"cannot read {source}: {system_words(error)}") from error


def hash_source(source: Path, report: Callable[[int, int], None]) -> str:
    """SHA-256 of a file, or of a folder's images with their names; ``report`` gets bytes read and bytes in all."""
    paths = list_images(source) if source.is_dir() else [source]
    digest, done, total = hashlib.sha256(), 0, sum(path.stat().st_size for path in paths)
    for path in paths:
        if source.is_dir():
            digest.update(f"{path.name}\0{path.stat().st_size}\0".encode("utf-8", "surrogateescape"))
        for num_bytes in update_digest(digest, path):
            done += num_bytes
            report(done, total)
    return digest.hexdigest()
