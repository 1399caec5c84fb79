"""A still avatar: mouth shape (5,) and time → the face's Y'CbCr planes, with mouth, blinks and head sway."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.avatar import Avatar
from musetalk_cli.engine.avatar.visibility import Area
from musetalk_cli.engine.models.warp.face.lighting import FaceLighting
from musetalk_cli.engine.models.warp.face.mouth_interior import MouthInterior
from musetalk_cli.engine.models.warp.face.mouth_pose import MouthPose
from musetalk_cli.engine.models.warp.face.mouth_warp import MouthWarp, cell_px, clean_shape, reach_px
from musetalk_cli.engine.models.warp.face.sampling import (
    Grid,
    UpsampledImage,
    crop_planes,
    region_around,
    without_bars,
)
from musetalk_cli.engine.models.warp.idle.eye_states import EyeStates
from musetalk_cli.engine.models.warp.idle.eyelids import make_lids
from musetalk_cli.engine.models.warp.idle.head_sway import HeadSway
from musetalk_cli.engine.models.warp.idle.idle_motion import head_pose, lid_closure
from musetalk_cli.engine.types.messages import Face, Region


class StillAvatarRenderer:
    """Renders a still avatar's face. Immutable after construction; :meth:`render` is pure and thread-safe.

    ``region``: the rectangle of the frame that changes, aligned to even pixels.
    """

    region: Region

    def __init__(
        self,
        avatar: Avatar,
        *,
        height_px: int,
        has_idle_motion: bool,
        seed: int = 0,
    ) -> None:
        """Prepare a face.

        Args:
            avatar: A still in its own size. Where it brings no images of closed eyelids, they are made from its skin.
            height_px: Height of the output; it and the width are rounded to even.
            has_idle_motion: Whether the head sways and the eyes blink. Without, only the mouth's surroundings change.
            seed: Chooses the times of blinks and the course of the sway.
        """
        shown = avatar.resized(height_px)
        size, face = (shown.width, shown.height), shown.landmarks[0]
        area = Area.whole(*size) if shown.visibility is None else shown.visibility.area
        planes = without_bars(crop_planes(shown.frames.read([0])[0], Region(0, 0, *size)), area)
        image, lids = avatar.frames.image(), avatar.eyelids
        self._seed = seed
        if has_idle_motion and lids is None:
            lids = make_lids(image, avatar.landmarks[0])
        self._eyes = EyeStates(UpsampledImage.of(planes), image, size, lids if has_idle_motion else None)
        pose = MouthPose.of_still(face)
        sway = HeadSway(face, area) if has_idle_motion else None
        mouth_px = reach_px(pose.axes)
        self.region = region_around([mouth_px] if sway is None else [mouth_px, sway.bounds_px], size, area)
        self._grid = Grid(self.region, cell_px(pose.axes.unit_px))
        self._sway = sway.field_on(self._grid.nodes) if sway else None
        self._mouth = MouthWarp(pose, self._grid, MouthInterior(pose.axes.unit_px, FaceLighting.of([(planes, face)])))

    def render(self, mouth: NDArray[np.float32], time_s: float) -> Face:
        """The face for a mouth shape (O, J, W, P, F; float32 (5,)) at ``time_s`` of the stream.

        Values outside their ranges are clipped. Values that are not finite count as zero.
        """
        shape = clean_shape(mouth)
        motion, targets, closure = np.zeros((2, 3), dtype=np.float32), self._grid.nodes, 0.0
        if self._sway is not None:
            motion = self._sway.matrix(head_pose(self._seed, time_s))
            targets = targets + self._sway.offset(motion)
            closure = lid_closure(self._seed, time_s)
        source = self._eyes.at(closure)
        if not shape.any() and self._mouth.is_at_rest:
            return Face(self.region, source.sample(*self._grid.sampling_maps(targets)))
        inverse_sway = np.eye(2, 3, dtype=np.float32) + motion
        return Face(self.region, self._mouth.render(shape, source, targets, inverse_sway))
