"""A video avatar: mouth shape (6,), avatar frame and its I420 image → the face's Y'CbCr planes with a new mouth.

Every frame keeps its own head and eyes; only the mouth is replaced.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.avatar import Avatar
from musetalk_cli.engine.models.warp.face.geometry import MouthAxes
from musetalk_cli.engine.models.warp.face.lighting import FaceLighting
from musetalk_cli.engine.models.warp.face.mouth_interior import MouthInterior
from musetalk_cli.engine.models.warp.face.mouth_warp import MouthWarp, cell_px, clean_shape, mouth_boxes, reach_px
from musetalk_cli.engine.models.warp.face.sampling import Grid, UpsampledImage, crop_planes, region_around
from musetalk_cli.engine.models.warp.mouth_track import MouthTrack
from musetalk_cli.engine.models.warp.native import library
from musetalk_cli.engine.models.warp.native.mouth import MIN_NODES
from musetalk_cli.engine.models.warp.native.sampling import can_sample_size, extent_of
from musetalk_cli.engine.types.colour import ByteArray, Planes
from musetalk_cli.engine.types.messages import Face, FloatArray, Region, unchanged_face

if TYPE_CHECKING:
    from musetalk_cli.engine.models.warp.native.face import NativeFace
    from musetalk_cli.engine.models.warp.video_mouth import VideoMouth

# Prepared frames in the cache. The cycle comes back to frames where it turns, and a video slower than the output
# repeats each. With numpy, a prepared frame takes about 0.4 MB; in C, a tenth of that, so that short videos stay there
# as a whole.
CACHE_SIZE, NATIVE_CACHE_SIZE = 32, 256
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
        self._limits = None if avatar.visibility is None else avatar.visibility.area
        # One cell size for the whole video. A change of size from one frame to the next would show as flicker.
        self._cell_px = cell_px(self._track.unit_px)
        self._interior = MouthInterior(self._track.unit_px, self._measure_lighting(avatar))
        size = CACHE_SIZE if library.load() is None else NATIVE_CACHE_SIZE
        self._prepare = lru_cache(maxsize=size)(self._prepare_frame)
        self._grid = lru_cache(maxsize=CACHE_SIZE)(self._grid_of_size)

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

    def render(self, mouth: NDArray[np.float32], index: int, image: ByteArray) -> Face:
        """The face for a mouth shape (O, J, W, P, F, T; float32 (6,)) in avatar frame ``index``.

        ``image``: that frame, I420, uint8 (height · 3/2, width); it is not written into. Values of the shape outside
        their ranges are clipped. Values that are not finite count as zero.
        """
        opacity = float(self._opacity[index])
        if not opacity:
            return unchanged_face()
        prepared = self._prepare(index)
        if prepared is None:
            return unchanged_face()
        region, grid, warp = prepared
        source, shape = UpsampledImage.of_region(image, region), clean_shape(mouth)
        if isinstance(warp, MouthWarp):
            planes, _ = warp.render(shape, source, grid.nodes, _UNMOVED)
        else:
            planes = self._draw_natively(warp, source, shape)
        mask = np.full((region.height, region.width), round(255 * opacity), np.uint8) if opacity < 1 else None
        return Face(region, planes, mask)

    def _prepare_frame(self, index: int) -> tuple[Region, Grid, MouthWarp | tuple[NativeFace, VideoMouth]] | None:
        """What draws a frame; None where its lips are beyond the image."""
        axes = self._track.axes(index)
        region = region_around([reach_px(axes)], self._size, self._limits)
        grid, native = self._grid(region.width, region.height)
        corner = np.array([region.left, region.top], dtype=np.float32)
        boxes = mouth_boxes(MouthAxes(axes.origin_px - corner, axes.x_axis, axes.unit_px), grid)
        if not all(min(extent_of(box)[2:]) > 0 for box in boxes):
            return None
        kernel = library.load()
        if native is None or kernel is None or min(extent_of(boxes[0])[2:]) < MIN_NODES:
            return region, grid, MouthWarp(self._track.pose(index).moved(-corner), grid, self._interior)
        from musetalk_cli.engine.models.warp.video_mouth import VideoMouth  # imports ctypes

        marks = self._track.marks(index)
        return region, grid, (native, VideoMouth(kernel, marks, axes, corner, grid, boxes, self._interior))

    def _grid_of_size(self, width: int, height: int) -> tuple[Grid, NativeFace | None]:
        """A grid, and what draws faces on it in C, where that can be."""
        region = Region(0, 0, width, height)
        grid, native = Grid(region, self._cell_px), library.load()
        if native is None or not can_sample_size(width, height, self._cell_px):
            return grid, None
        from musetalk_cli.engine.models.warp.native.face import NativeFace  # imports ctypes

        return grid, NativeFace(native, grid.nodes, self._cell_px, region)

    @staticmethod
    def _draw_natively(warp: tuple[NativeFace, VideoMouth], source: UpsampledImage, shape: FloatArray) -> Planes:
        from musetalk_cli.engine.models.warp.native.face import FaceState, NativeImage  # imports ctypes

        face, mouth = warp
        return face.draw(FaceState(NativeImage(source.luma, source.chroma), mouth.motion(shape)))
