"""A video whose mouth says something else: every frame keeps its head and eyes, and gets another mouth."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.avatar import Avatar
from musetalk_cli.engine.models.warp.face.interior import Interior
from musetalk_cli.engine.models.warp.face.light import FaceLight
from musetalk_cli.engine.models.warp.face.mouth_warp import MouthWarp, cell_px, clean_shape, reach_px
from musetalk_cli.engine.models.warp.face.sampling import Grid, Source, cut_planes, region_around
from musetalk_cli.engine.models.warp.track import MouthTrack
from musetalk_cli.engine.types.colour import ByteArray
from musetalk_cli.engine.types.messages import Face, Region

# Prepared frames that are kept: a cycle comes back to them at its turns, and a video slower than the output repeats
# each. One takes about 0.4 MB.
KEPT_FRAMES = 32
_LIGHT_SAMPLES, _LIGHT_STEP = 2, 4  # frames from which the face's light is taken, and one in how many of the open ones

_UNMOVED = np.eye(2, 3, dtype=np.float32)


class MovingFace:
    """Renders the face of a video avatar. Immutable; :meth:`render` depends on its arguments alone, in any thread."""

    def __init__(self, avatar: Avatar) -> None:
        """``avatar`` in the size of the output. Raises AvatarError when its frames cannot be read."""
        if avatar.frame_rate is None:
            raise ValueError(f"avatar '{avatar.name}' is a still")
        self._size = (avatar.width, avatar.height)
        self._track = MouthTrack(avatar.landmarks, float(avatar.frame_rate), avatar.points)
        # One size of cell for the whole video: another one would show as a flicker where the face's size crosses it.
        self._cell_px = cell_px(self._track.unit_px)
        self._interior = Interior(self._track.unit_px, self._look_at_light(avatar))
        self._prepare = lru_cache(maxsize=KEPT_FRAMES)(self._prepare_frame)

    def _look_at_light(self, avatar: Avatar) -> FaceLight:
        """From some frames of the whole video, and from some that show the most between the lips."""
        count = avatar.frames.num_frames
        evenly = np.linspace(0, count - 1, _LIGHT_SAMPLES).round().astype(int)
        open_first = np.argsort(-self._track.gaps, kind="stable")[: _LIGHT_SAMPLES * _LIGHT_STEP : _LIGHT_STEP]
        samples = sorted({int(index) for index in (*evenly, *open_first)})
        whole = Region(0, 0, *self._size)
        images = avatar.frames.read(samples)
        seen = [
            (cut_planes(image, whole), avatar.landmarks[index]) for index, image in zip(samples, images, strict=True)
        ]
        return FaceLight.of(seen)

    def render(self, mouth: NDArray[np.float32], index: int, image: ByteArray) -> Face:
        """The face for a mouth shape (O, J, W, P, F; float32 (5,)) in avatar frame ``index``, whose I420 ``image`` is
        only read. Values outside their ranges are clipped; not finite ones count as zero."""
        region, grid, warp = self._prepare(index)
        source = Source.of(cut_planes(image, region))
        return Face(region, warp.render(clean_shape(mouth), source, grid.nodes, _UNMOVED))

    def _prepare_frame(self, index: int) -> tuple[Region, Grid, MouthWarp]:
        pose = self._track.pose(index)
        region = region_around([reach_px(pose.axes)], self._size)
        grid = Grid(Region(0, 0, region.width, region.height), self._cell_px)
        corner = np.array([region.left, region.top], dtype=np.float32)
        return region, grid, MouthWarp(pose.moved(-corner), grid, self._interior)
