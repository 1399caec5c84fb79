"""What a still does besides speaking, at one moment: the pose of its head, its lids, its gaze and its brows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LifeState:
    """Everything at zero is the image as it is.

    ``yaw``, ``pitch``, ``roll``: radians: turned to the image's right, bowed, tilted clockwise. ``shift_x``,
    ``shift_y``: in face heights, right and down. ``left_lid``, ``right_lid``: closure of the eye on that side of the
    image, 0..1. ``gaze_x``, ``gaze_y``: -1..1, to the image's right and down. ``brows``: how far they are raised, 0..1.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    shift_x: float = 0.0
    shift_y: float = 0.0
    left_lid: float = 0.0
    right_lid: float = 0.0
    gaze_x: float = 0.0
    gaze_y: float = 0.0
    brows: float = 0.0

    @property
    def moves_head(self) -> bool:
        """Whether anything but the eyes is elsewhere than in the image."""
        return any((self.yaw, self.pitch, self.roll, self.shift_x, self.shift_y, self.brows))


REST = LifeState()
