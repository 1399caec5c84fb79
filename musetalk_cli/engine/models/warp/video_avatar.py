"""A video avatar: mouth shape (6,), avatar frame and its I420 image → the face's Y'CbCr planes with a new mouth.

Every frame keeps its own head and eyes; only the mouth is replaced.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.avatar import Avatar
from musetalk_cli.engine.models.warp.face.lighting import FaceLighting
from musetalk_cli.engine.models.warp.face.mouth_interior import MouthInterior
from musetalk_cli.engine.models.warp.face.mouth_warp import MouthWarp, cell_px, clean_shape
from musetalk_cli.engine.models.warp.face.sampling import Grid, UpsampledImage, crop_planes
from musetalk_cli.engine.models.warp.mouth_places import MouthPlaces
from musetalk_cli.engine.models.warp.mouth_track import MouthTrack
from musetalk_cli.engine.native import library
from musetalk_cli.engine.types.colour import ByteArray
from musetalk_cli.engine.types.messages import Face, Region, unchanged_face

if TYPE_CHECKING:
    from musetalk_cli.engine.models.warp.video_faces import VideoFaces

# Prepared frames in the cache, of 0.4 MB each. The cycle comes back to frames where it turns, and a video slower than
# the output repeats each.
CACHE_SIZE = 32
# The lighting is measured on this many frames spread over the video, and on as many of those with the widest open
# mouths, of which every fourth is taken.
_NUM_LIGHTING_FRAMES, _LIGHTING_STEP = 2, 4

_UNMOVED = np.eye(2, 3, dtype=np.float32)


class VideoAvatarRenderer:
    """Renders the face of a video avatar. Immutable; :meth:`render` depends on its arguments alone, in any thread."""

    def __init__(self, avatar: Avatar) -> None:
        """``avatar`` in the size of the output. Raises AvatarError when its frames cannot be read."""
        if avatar.frame_rate is None:
            raise ValueError(f"avatar '{avatar.name}' is a still")
        self._size = (avatar.width, avatar.height)
        self._opacity = avatar.opacity
        is_cut = None if avatar.visibility is None else avatar.visibility.is_cut
        self._track = MouthTrack(
            avatar.landmarks, float(avatar.frame_rate), avatar.points, is_seen=self._opacity > 0, is_cut=is_cut
        )
        self._opacity = self._opacity * self._track.opacity
        limits = None if avatar.visibility is None else avatar.visibility.area
        # One cell size for the whole video. A change of size from one frame to the next would show as flicker.
        self._cell_px = cell_px(self._track.unit_px)
        self._interior = MouthInterior(self._track.unit_px, self._measure_lighting(avatar))
        self._places = MouthPlaces.of(self._track.axes, self._size, limits, self._cell_px)
        self._opacity[self._places.lips_px[:, 2:].min(axis=1) == 0] = 0  # lips beyond the image
        self._native = self._native_faces()
        self._prepare = lru_cache(maxsize=CACHE_SIZE)(self._prepare_frame)

    def _measure_lighting(self, avatar: Avatar) -> FaceLighting:
        """Measure the lighting on frames spread over the video, and on some whose mouths are open widest."""
        seen = np.flatnonzero(self._opacity == self._opacity.max())
        evenly = seen[np.linspace(0, len(seen) - 1, _NUM_LIGHTING_FRAMES).round().astype(int)]
        open_first = seen[
            np.argsort(-self._track.gaps[seen], kind="stable")[: _NUM_LIGHTING_FRAMES * _LIGHTING_STEP : _LIGHTING_STEP]
        ]
        samples = sorted({int(index) for index in (*evenly, *open_first)})
        whole = Region(0, 0, *self._size)
        images = avatar.frames.read(samples)
        measured = [
            (crop_planes(image, whole), avatar.landmarks[index]) for index, image in zip(samples, images, strict=True)
        ]
        return FaceLighting.of(measured)

    def _native_faces(self) -> VideoFaces | None:
        """What draws them in C; None where numpy has to."""
        kernel = library.load()
        if kernel is None or self._interior.native is None:
            return None
        from musetalk_cli.engine.models.warp.video_faces import VideoFaces  # imports ctypes

        return VideoFaces(kernel, self._track, self._places, self._interior)

    def render(self, mouth: NDArray[np.float32], index: int, image: ByteArray) -> Face:
        """The face for a mouth shape (O, J, W, P, F, T; float32 (6,)) in avatar frame ``index``.

        ``image``: that frame, I420, uint8 (height · 3/2, width); it is not written into. Values of the shape outside
        their ranges are clipped. Values that are not finite count as zero.
        """
        opacity = float(self._opacity[index])
        if not opacity:
            return unchanged_face()
        shape, region = clean_shape(mouth), self._places.region(index)
        if self._native is not None and self._native.can_draw(index):
            planes = self._native.draw(shape, index, image)
        else:
            grid, warp = self._prepare(index)
            planes, _ = warp.render(shape, UpsampledImage.of_region(image, region), grid.nodes, _UNMOVED)
        mask = np.full((region.height, region.width), round(255 * opacity), np.uint8) if opacity < 1 else None
        return Face(region, planes, mask)

    def _prepare_frame(self, index: int) -> tuple[Grid, MouthWarp]:
        """What numpy draws a frame with."""
        region = self._places.region(index)
        grid = Grid(Region(0, 0, region.width, region.height), self._cell_px)
        corner = np.array([region.left, region.top], dtype=np.float32)
        return grid, MouthWarp(self._track.pose(index).moved(-corner), grid, self._places.boxes(index), self._interior)
