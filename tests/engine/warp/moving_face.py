"""A drawn face that turns, drifts and talks: a video with exact landmarks."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.avatar import Avatar
from musetalk_cli.engine.avatar.frames import check_indices
from musetalk_cli.engine.avatar.landmarks import Landmarks
from musetalk_cli.engine.colour import bgr_to_planes, planes_to_i420
from tests.engine.warp.drawn_face import CENTRE, draw_face

RATE = Fraction(25)


class DrawnFrames:
    """Pictures held in memory."""

    def __init__(self, pictures: Sequence[NDArray[np.uint8]]) -> None:
        self.height, self.width = pictures[0].shape[:2]
        self.num_frames = len(pictures)
        self._pictures = pictures

    def read(self, indices: Sequence[int]) -> list[NDArray[np.uint8]]:
        check_indices(indices, self.num_frames)
        return [planes_to_i420(bgr_to_planes(self._pictures[index])) for index in indices]

    def picture(self, index: int = 0) -> NDArray[np.uint8]:
        return self._pictures[index]

    def close(self) -> None:
        pass


def gap_at(index: int) -> float:
    """How far the drawn person's own lips are apart in a frame, mouth widths: open half of the time."""
    return max(0.0, 0.16 * float(np.sin(2 * np.pi * index / 9)))


def talking_avatar(num_frames: int = 30, *, is_talking: bool = True, has_motion: bool = True) -> Avatar:
    """A person who talks while the head turns by up to 8 degrees and drifts by up to 12 pixels."""
    pictures, faces = [], []
    for index in range(num_frames):
        picture, face = draw_face(own_gap=gap_at(index) if is_talking else 0.0)
        turn = np.eye(2, 3)
        if has_motion:
            phase = 2 * np.pi * index / 40
            turn = cv2.getRotationMatrix2D((float(CENTRE[0]), float(CENTRE[1])), 8 * np.sin(phase), 1.0)
            turn[:, 2] += [12 * np.sin(phase), 5 * np.sin(2 * phase)]
        pictures.append(cv2.warpAffine(picture, turn, picture.shape[1::-1], borderMode=cv2.BORDER_REPLICATE))
        moved = {name: points @ turn[:, :2].T + turn[:, 2] for name, points in vars(face).items()}
        faces.append(Landmarks.from_mapping(moved))
    return Avatar("drawn", DrawnFrames(pictures), RATE, tuple(faces))
