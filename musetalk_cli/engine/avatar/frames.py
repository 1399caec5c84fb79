"""Where an avatar's images come from, one by one and in any order."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Protocol

import cv2
import numpy as np

from musetalk_cli.engine.types.colour import ByteArray, as_bytes, bgr_to_planes, planes_to_i420


class AvatarFrames(Protocol):
    """The images of an avatar, all ``width`` × ``height`` pixels, both even."""

    width: int
    height: int
    num_frames: int

    def read(self, indices: Sequence[int]) -> list[ByteArray]:
        """The frames with these indices, in this order: planar I420, uint8 (height · 3/2, width), each a fresh array
        that the caller may write into, or a shared one that is read-only. The same index always gives the same bytes,
        whatever was read before. Several threads may call it at once.

        Raises AvatarError when a frame cannot be read, IndexError when there is none of this index.
        """

    def image(self, index: int = 0) -> ByteArray:
        """A frame as uint8 BGR (height, width, 3); of a still, its exact pixels."""

    def close(self) -> None:
        """Release files and processes; reading afterwards is an error."""


class AvatarAlphas(Protocol):
    """How much each pixel of an avatar's frames covers what is behind it."""

    def read(self, indices: Sequence[int]) -> list[ByteArray]:
        """Of the frames with these indices, in this order: uint8 (height, width), 255 where nothing behind is seen; a
        caller does not write into them. Several threads may call it at once. Raises as AvatarFrames does."""

    def close(self) -> None:
        """Release files; reading afterwards is an error."""


class StillFrames:
    """One image, held in memory: uint8 BGR (h, w, 3) of any size; I420 leaves out an odd last row or column."""

    num_frames = 1

    def __init__(self, image: ByteArray) -> None:
        self.height, self.width = (size - size % 2 for size in image.shape[:2])
        self._image = image

    @cached_property
    def _i420(self) -> ByteArray:
        image = planes_to_i420(bgr_to_planes(self._image[: self.height, : self.width]))
        image.flags.writeable = False
        return image

    def read(self, indices: Sequence[int]) -> list[ByteArray]:
        check_indices(indices, self.num_frames)
        return [self._i420] * len(indices)

    def image(self, index: int = 0) -> ByteArray:
        check_indices([index], self.num_frames)
        return self._image

    def close(self) -> None:
        """Nothing to release."""


def check_indices(indices: Sequence[int], num_frames: int) -> None:
    """Raise IndexError for an index outside 0 … num_frames - 1."""
    for index in indices:
        if not 0 <= index < num_frames:
            raise IndexError(f"frame {index} of {num_frames}")


class ResizedFrames:
    """Another avatar's frames, each resized as it is read; ``width`` and ``height`` even."""

    def __init__(self, frames: AvatarFrames, width: int, height: int) -> None:
        self.width, self.height, self.num_frames = width, height, frames.num_frames
        self._frames = frames

    def read(self, indices: Sequence[int]) -> list[ByteArray]:
        return [resize_i420(image, self.width, self.height) for image in self._frames.read(indices)]

    def image(self, index: int = 0) -> ByteArray:
        return resize_image(self._frames.image(index), self.width, self.height)

    def close(self) -> None:
        self._frames.close()


def resize_i420(image: ByteArray, width: int, height: int) -> ByteArray:
    """Resize a planar I420 image, uint8 (h · 3/2, w), to an even width and height; planes by :func:`resize_plane`."""
    from musetalk_cli.engine.native.shrinking import shrink_i420  # what is not resized starts without

    shrunk = shrink_i420(image, width, height)
    if shrunk is not None:
        return shrunk
    rows, columns = image.shape[0] * 2 // 3, image.shape[1]
    chroma = image[rows:].reshape(2, rows // 2, columns // 2)
    planes = [
        resize_image(image[:rows], width, height),
        *(resize_image(plane, width // 2, height // 2) for plane in chroma),
    ]
    return np.concatenate([plane.ravel() for plane in planes]).reshape(-1, width)


def resize_plane(plane: ByteArray, width: int, height: int) -> ByteArray:
    """Resize uint8 (h, w) as :func:`resize_image`.

    The native kernel shrinks it, where there is one: a sample in some hundreds, and more where OpenCV's is a matter of
    chance, differs by a level.
    """
    from musetalk_cli.engine.native.shrinking import shrink_plane

    shrunk = shrink_plane(plane, width, height)
    return resize_image(plane, width, height) if shrunk is None else shrunk


def resize_image(image: ByteArray, width: int, height: int) -> ByteArray:
    """Resize one or more channels: area average when shrinking, bicubic when growing."""
    if (width, height) == (image.shape[1], image.shape[0]):
        return image
    how = cv2.INTER_AREA if height < image.shape[0] else cv2.INTER_CUBIC
    return as_bytes(cv2.resize(image, (width, height), interpolation=how))


class StillAlpha:
    """AvatarAlphas of one image: uint8 (h, w), both even."""

    def __init__(self, alpha: ByteArray) -> None:
        self._alpha = alpha

    def read(self, indices: Sequence[int]) -> list[ByteArray]:
        check_indices(indices, 1)
        return [self._alpha for _ in indices]

    def close(self) -> None:
        """Nothing to release."""


class ResizedAlphas:
    """Another avatar's alphas, each resized as it is read; ``width`` and ``height`` even."""

    def __init__(self, alphas: AvatarAlphas, width: int, height: int) -> None:
        self._alphas, self._size = alphas, (width, height)

    def read(self, indices: Sequence[int]) -> list[ByteArray]:
        return [resize_plane(alpha, *self._size) for alpha in self._alphas.read(indices)]

    def close(self) -> None:
        self._alphas.close()


class FramesOnBackground:
    """Frames with alpha on an image that is behind all of them, uint8 BGR (h, w, 3) of their size."""

    def __init__(self, frames: AvatarFrames, alphas: AvatarAlphas, behind: ByteArray) -> None:
        self.width, self.height, self.num_frames = frames.width, frames.height, frames.num_frames
        self._frames, self._alphas, self._behind_bgr = frames, alphas, behind
        self._behind = planes_to_i420(bgr_to_planes(behind))

    def read(self, indices: Sequence[int]) -> list[ByteArray]:
        both = zip(self._frames.read(indices), self._alphas.read(indices), strict=True)
        return [put_on(image, alpha_sheet(alpha), self._behind) for image, alpha in both]

    def image(self, index: int = 0) -> ByteArray:
        alpha = self._alphas.read([index])[0]
        return put_on(self._frames.image(index), alpha[:, :, None], self._behind_bgr)

    def close(self) -> None:
        self._frames.close()
        self._alphas.close()


def alpha_sheet(alpha: ByteArray) -> ByteArray:
    """Alpha (h, w) for each sample of a planar I420 image: uint8 (h · 3/2, w)."""
    height, width = alpha.shape
    half = as_bytes(cv2.resize(alpha, (width // 2, height // 2), interpolation=cv2.INTER_AREA))
    return np.concatenate([alpha.ravel(), half.ravel(), half.ravel()]).reshape(-1, width)


def put_on(image: ByteArray, alpha: ByteArray, behind: ByteArray) -> ByteArray:
    """An image by ``alpha`` / 255, and what is ``behind`` by the rest, to the nearest level."""
    share = alpha.astype(np.uint16)
    return as_bytes((image * share + behind * (255 - share) + 127) // 255)


class SharedAlphas:
    """An avatar's alphas for one of several who use them: it does not close them."""

    def __init__(self, alphas: AvatarAlphas) -> None:
        self.read = alphas.read

    def close(self) -> None:
        pass


class SharedFrames:
    """An avatar's frames for one of several sessions: it does not close what others use."""

    def __init__(self, frames: AvatarFrames) -> None:
        self._frames = frames
        self.width, self.height, self.num_frames = frames.width, frames.height, frames.num_frames

    def read(self, indices: Sequence[int]) -> list[ByteArray]:
        return self._frames.read(indices)

    def image(self, index: int = 0) -> ByteArray:
        return self._frames.image(index)

    def close(self) -> None:
        pass
