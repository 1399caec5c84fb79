"""How a face stands in one avatar frame: the mouth's axes, the mouth it shows, and the mouth it would have at rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from musetalk_cli.engine.avatar.landmarks import Landmarks
from musetalk_cli.engine.models.warp.face.geometry import FloatArray, MouthAxes

# tan(yaw) per offset of the nose's tip from the middle between the outer eye corners, in distances of these corners:
# fitted on videos of real heads that turn by up to 20 degrees (r = 0.95 … 0.997).
_YAW_PER_OFFSET = 1.66
_MOST_YAW = 0.7  # tangent


@dataclass(frozen=True)
class MouthPose:
    """A face in one frame, all in its pixels.

    ``face``: the landmarks as they are. ``rest``: the same head with its mouth at rest, though perhaps not shut; only
    lips and jaw line differ from ``face``. ``axes``: the mouth's axes, which do not follow what the mouth does.
    """

    face: Landmarks
    rest: Landmarks
    axes: MouthAxes

    @classmethod
    def of_still(cls, face: Landmarks) -> MouthPose:
        """An image's only pose: whatever its mouth does counts as its rest."""
        return cls(face, face, MouthAxes.of(face))

    @property
    def yaw(self) -> float:
        """Tangent of the angle by which the head is turned to the image's right."""
        eyes = np.stack([self.face.left_upper_lid[0], self.face.right_upper_lid[-1]]).astype(np.float64)
        span = eyes[1] - eyes[0]
        offset = (self.face.nose[1] - eyes.mean(axis=0)) @ span / max(float(span @ span), 1e-6)
        return float(np.clip(_YAW_PER_OFFSET * offset, -_MOST_YAW, _MOST_YAW))

    def moved(self, shift_px: FloatArray) -> MouthPose:
        """The same pose in an image whose first pixel stands at ``-shift_px`` of this one."""
        face, rest = (
            Landmarks(**{name: points + shift_px for name, points in vars(marks).items()})
            for marks in (self.face, self.rest)
        )
        axes = MouthAxes(self.axes.origin_px + shift_px, self.axes.x_axis, self.axes.unit_px)
        return MouthPose(face, rest, axes)
