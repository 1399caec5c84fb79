"""The prepared person: images of a face, and where the face is in each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import overload

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.frames import (
    AvatarAlphas,
    AvatarFrames,
    ResizedAlphas,
    ResizedFrames,
    SharedAlphas,
    SharedFrames,
    StillFrames,
    resize_image,
)
from musetalk_cli.engine.avatar.kept_frames import keep_short, unkept
from musetalk_cli.engine.avatar.landmarks import Landmarks
from musetalk_cli.engine.avatar.mesh import landmarks_of
from musetalk_cli.engine.avatar.visibility import Visibility
from musetalk_cli.engine.types.colour import even_size
from musetalk_cli.errors import AvatarError


@dataclass(frozen=True, eq=False)  # arrays are not equal or unequal as a whole
class Eyelids:
    """Drawn eyelids: the eyes of an image, drawn again at several closures.

    ``box``: left, top, width, height (pixels of the image) of a crop that holds both eyes.

    ``levels``: increasing closures, 0 < level <= 1 (1 = shut). ``images`` uint8 (len(levels), height, width, 3), BGR:
    the crop at every level. Raises AvatarError when the three do not agree.
    """

    box: tuple[int, int, int, int]
    levels: tuple[float, ...]
    images: NDArray[np.uint8]

    def __post_init__(self) -> None:
        expected = (len(self.levels), self.box[3], self.box[2], 3)
        if not self.levels or self.images.shape != expected:
            raise AvatarError(f"lid images must have shape {expected}; found {self.images.shape}")
        if list(self.levels) != sorted(self.levels) or not 0 < self.levels[0] <= self.levels[-1] <= 1:
            raise AvatarError(f"lid levels must increase from above 0 to at most 1; found {self.levels}")


@dataclass(frozen=True, eq=False)  # arrays are not equal or unequal as a whole
class Avatar:
    """Images of one person and the landmarks of each.

    ``frame_rate`` is how many pass in a second, None for a still; ``landmarks`` has one for every frame, smoothed, in
    pixels of ``frames``; ``points`` float32 (num_frames, 468, 2) is the whole mesh that they were taken from, None for
    a drawn portrait, which has drawn ``eyelids`` for its blinks instead. ``visibility``: which frames may be changed,
    and what of them; None for all. ``alphas``: how much each frame covers what is behind it; None for all of it.
    Raises AvatarError when they do not fit.
    """

    name: str
    frames: AvatarFrames
    frame_rate: Fraction | None
    landmarks: Sequence[Landmarks]
    eyelids: Eyelids | None = None
    points: NDArray[np.float32] | None = None
    visibility: Visibility | None = None
    alphas: AvatarAlphas | None = None
    _resized: dict[tuple[int, int], Avatar] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        count = self.frames.num_frames
        if len(self.landmarks) != count or (self.frame_rate is None and count != 1):
            raise AvatarError(f"avatar '{self.name}' has {count} frames and {len(self.landmarks)} faces")
        if self.points is not None and self.points.shape != (count, 468, 2):
            raise AvatarError(f"avatar '{self.name}' has {count} frames and face points of shape {self.points.shape}")

    @property
    def width(self) -> int:
        """Of every frame, in pixels, even."""
        return self.frames.width

    @property
    def height(self) -> int:
        """Of every frame, in pixels, even."""
        return self.frames.height

    @property
    def opacity(self) -> NDArray[np.float32]:
        """How much of a new mouth shows in each frame, float32 (num_frames,) 0..1; 0 leaves the frame as it is."""
        return np.ones(self.frames.num_frames, np.float32) if self.visibility is None else self.visibility.opacity

    @property
    def is_still(self) -> bool:
        """Whether it is one image, which may be given a life of its own."""
        return self.frame_rate is None

    def resized(self, height_px: int) -> Avatar:
        """The same person at another height (rounded to even, as the width is); its frames are resized when read. Asked
        again, it is the same object.

        Drawn eyelids are left out: a drawn portrait is resized by whoever draws it.
        """
        width, height = even_size(self.width, self.height, height_px)
        if (width, height) == (self.width, self.height):
            return self
        if (width, height) not in self._resized:
            self._resized[width, height] = self._resize(width, height)
        return self._resized[width, height]

    def shared(self) -> Avatar:
        """The same avatar for one of several who use it: closing it closes nothing."""
        alphas = None if self.alphas is None else SharedAlphas(self.alphas)
        return replace(self, frames=SharedFrames(self.frames), alphas=alphas)

    def close(self) -> None:
        """Release its frames."""
        self.frames.close()
        if self.alphas is not None:
            self.alphas.close()

    def _resize(self, width: int, height: int) -> Avatar:
        factors = np.array([width / self.width, height / self.height], dtype=np.float32)
        points = None if self.points is None else scale_points(self.points, factors)
        faces: Sequence[Landmarks] = (
            tuple(_scale_landmarks(face, factors) for face in self.landmarks)
            if points is None
            else MeshLandmarks(points)
        )
        frames: AvatarFrames = (
            StillFrames(resize_image(self.frames.image(), width, height))
            if self.is_still
            else keep_short(ResizedFrames(unkept(self.frames), width, height))
        )
        visibility = None if self.visibility is None else self.visibility.scaled(factors)
        return replace(
            self,
            frames=frames,
            landmarks=faces,
            eyelids=None,
            points=points,
            visibility=visibility,
            alphas=None if self.alphas is None else ResizedAlphas(self.alphas, width, height),
        )


class MeshLandmarks(Sequence[Landmarks]):
    """The landmarks of every frame, taken from meshes float32 (n, 468, 2) when asked for."""

    def __init__(self, points: NDArray[np.float32]) -> None:
        self._points = points

    def __len__(self) -> int:
        return len(self._points)

    @overload
    def __getitem__(self, index: int) -> Landmarks: ...

    @overload
    def __getitem__(self, index: slice) -> MeshLandmarks: ...

    def __getitem__(self, index: int | slice) -> Landmarks | MeshLandmarks:
        if isinstance(index, slice):
            return MeshLandmarks(self._points[index])
        return landmarks_of(self._points[index])


def scale_points(points: NDArray[np.float32], factors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Points (..., 2) after their image was resized by ``factors`` (x, y); pixel centres are at integers."""
    return np.asarray((points + 0.5) * factors - 0.5, dtype=np.float32)


def _scale_landmarks(face: Landmarks, factors: NDArray[np.float32]) -> Landmarks:
    return Landmarks(**{name: scale_points(points, factors) for name, points in vars(face).items()})
