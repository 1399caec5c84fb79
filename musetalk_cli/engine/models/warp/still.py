"""An image that talks: its mouth in motion, its lids blinking, its head swaying."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.avatar import Avatar
from musetalk_cli.engine.models.warp.face.interior import Interior
from musetalk_cli.engine.models.warp.face.light import FaceLight
from musetalk_cli.engine.models.warp.face.mouth_warp import MouthWarp, cell_px, clean_shape, reach_px
from musetalk_cli.engine.models.warp.face.pose import MouthPose
from musetalk_cli.engine.models.warp.face.sampling import Grid, Source, cut_planes, region_around
from musetalk_cli.engine.models.warp.idle.blink import make_lids
from musetalk_cli.engine.models.warp.idle.eyes import EyeStates
from musetalk_cli.engine.models.warp.idle.life import head_pose, lid_closure
from musetalk_cli.engine.models.warp.idle.sway import Sway
from musetalk_cli.engine.types.messages import Face, Region


class StillFace:
    """Renders a still avatar's face. Immutable after construction; :meth:`render` is pure and thread-safe.

    ``region``: the even-aligned rectangle that changes.
    """

    region: Region

    def __init__(
        self,
        avatar: Avatar,
        *,
        height_px: int,
        life: bool,
        seed: int = 0,
    ) -> None:
        """Prepare a face.

        ``avatar``: a still in its own size, to be shown at ``height_px`` (rounded to even, as the width is). Without
        painted eyelids, some are made from its own skin. ``life``: blinks and head sway; when off, nothing outside the
        mouth's surroundings changes. ``seed`` chooses blinks and sway.
        """
        shown = avatar.resized(height_px)
        size, face = (shown.width, shown.height), shown.landmarks[0]
        planes = cut_planes(shown.frames.read([0])[0], Region(0, 0, *size))
        image, lids = avatar.frames.image(), avatar.eyelids
        self._seed = seed
        if life and lids is None:
            lids = make_lids(image, avatar.landmarks[0])
        self._eyes = EyeStates(Source.of(planes), image, size, lids if life else None)
        pose = MouthPose.of_still(face)
        sway = Sway(face, size) if life else None
        mouth_px = reach_px(pose.axes)
        self.region = region_around([mouth_px] if sway is None else [mouth_px, sway.bounds_px], size)
        self._grid = Grid(self.region, cell_px(pose.axes.unit_px))
        self._sway = sway.on(self._grid.nodes) if sway else None
        self._mouth = MouthWarp(pose, self._grid, Interior(pose.axes.unit_px, FaceLight.of([(planes, face)])))

    def render(self, mouth: NDArray[np.float32], time_s: float) -> Face:
        """The face for a mouth shape (O, J, W, P, F; float32 (5,)) at a time: mouth, blink and sway.

        Values outside their ranges are clipped; not finite ones count as zero.
        """
        shape = clean_shape(mouth)
        motion, targets, closure = np.zeros((2, 3), dtype=np.float32), self._grid.nodes, 0.0
        if self._sway is not None:
            motion = self._sway.matrix(head_pose(self._seed, time_s))
            targets = targets + self._sway.offset(motion)
            closure = lid_closure(self._seed, time_s)
        source = self._eyes.at(closure)
        if not shape.any() and self._mouth.is_at_rest:
            return Face(self.region, source.sample(*self._grid.maps(targets)))
        unsway = np.eye(2, 3, dtype=np.float32) + motion
        return Face(self.region, self._mouth.render(shape, source, targets, unsway))
