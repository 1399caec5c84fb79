"""One avatar frame's mouth: its axes, the landmarks that the frame shows, and those of the same head at rest."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from musetalk_cli.engine.avatar.landmarks import Landmarks
from musetalk_cli.engine.models.warp.face.geometry import FloatArray, MouthAxes

# tan(yaw) per offset of the nose's tip from the middle between the outer eye corners, in units of their distance.
# Fitted to videos of real heads that turn by up to 20 degrees (r = 0.95 … 0.997).
_YAW_PER_OFFSET = 1.66
_MAX_YAW = 0.7  # tangent


@dataclass(frozen=True)
class MouthPose:
    """The pose of a mouth in one frame, in the frame's pixels.

    ``face``: the landmarks that the frame shows. ``rest``: those of the same head with its mouth at rest, though
    perhaps not closed; only lips and jaw line differ from ``face``. ``axes``: the mouth's axes, which follow the head
    but not the speaking mouth.
    """

    face: Landmarks
    rest: Landmarks
    axes: MouthAxes

    @classmethod
    def of_still(cls, face: Landmarks) -> MouthPose:
        """The pose in a still image: the mouth that it shows counts as the mouth at rest."""
        return cls(face, face, MouthAxes.of(face))

    @cached_property
    def yaw(self) -> float:
        """Tangent of the angle by which the head is turned to the image's right."""
        (left, top), (right, bottom) = self.face.left_upper_lid[0].tolist(), self.face.right_upper_lid[-1].tolist()
        x, y = self.face.nose[1].tolist()
        across, down = right - left, bottom - top
        aside = (x - (left + right) / 2) * across + (y - (top + bottom) / 2) * down
        offset = aside / max(across * across + down * down, 1e-6)
        return float(min(max(_YAW_PER_OFFSET * offset, -_MAX_YAW), _MAX_YAW))

    def moved(self, shift_px: FloatArray) -> MouthPose:
        """The same pose shifted by ``shift_px`` (2,)."""
        face, rest = (Landmarks.of_stacked(marks.stacked() + shift_px) for marks in (self.face, self.rest))
        axes = MouthAxes(self.axes.origin_px + shift_px, self.axes.x_axis, self.axes.unit_px)
        return MouthPose(face, rest, axes)
