"""A plain drawn face with exact landmarks, at any size, tilt and lip gap."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.landmarks import Landmarks
from musetalk_cli.engine.avatar.lids import Lids

CENTRE = np.array([144.0, 210.0])  # of the mouth
MOUTH_PX = 72.0


def draw_face(tilt_deg: float = 0.0, own_gap: float = 0.0) -> tuple[NDArray[np.uint8], Landmarks]:
    """A picture uint8 (320, 288, 3) BGR and its landmarks. ``own_gap``: lip gap in mouth widths."""
    groups = _unit_landmarks(own_gap)
    angle = np.deg2rad(tilt_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * MOUTH_PX
    placed = {name: points @ turn.T + CENTRE for name, points in groups.items()}
    rows, columns = np.mgrid[:320, :288]
    picture = np.dstack([120 + columns // 4, 150 - rows // 4, 110 + (rows * 7 + columns * 3) % 16]).astype(np.uint8)
    _fill(picture, placed["oval"], (150, 178, 214))
    _fill(picture, np.vstack([placed["outer_upper_lip"], placed["outer_lower_lip"][::-1]]), (96, 92, 176))
    if own_gap:
        _fill(picture, np.vstack([placed["inner_upper_lip"], placed["inner_lower_lip"][::-1]]), (225, 230, 235))
    for side in ("left", "right"):
        _fill(picture, np.vstack([placed[f"{side}_upper_lid"], placed[f"{side}_lower_lid"][::-1]]), (235, 235, 235))
    return picture, Landmarks.from_mapping(placed)


def shut_lids(picture: NDArray[np.uint8], face: Landmarks) -> Lids:
    """Lids at two levels, painted in plain skin."""
    eyes = np.vstack([face.left_upper_lid, face.left_lower_lid, face.right_upper_lid, face.right_lower_lid])
    left, top = np.floor(eyes.min(axis=0)).astype(int) - 3
    right, bottom = np.ceil(eyes.max(axis=0)).astype(int) + 3
    crop = picture[top:bottom, left:right]
    half, shut = crop.copy(), np.full_like(crop, (150, 178, 214))
    half[: len(half) // 2] = shut[: len(half) // 2]
    return Lids((int(left), int(top), int(right - left), int(bottom - top)), (0.5, 1.0), np.stack([half, shut]))


def _unit_landmarks(own_gap: float) -> dict[str, NDArray[np.float64]]:
    def lip(reach: float, height: float) -> NDArray[np.float64]:
        x = np.linspace(-reach, reach, 11)
        return np.column_stack([x, height * (1 - (x / reach) ** 2)])

    def eye(centre: float, height: float) -> NDArray[np.float64]:
        x = np.linspace(-0.28, 0.28, 9)
        return np.column_stack([x + centre, -1.35 + height * (1 - (x / 0.28) ** 2)])

    angles = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    brow = np.column_stack([np.linspace(-0.3, 0.3, 5), np.full(5, -1.65)])
    return {
        "outer_upper_lip": lip(0.5, -0.15 - own_gap / 3),
        "outer_lower_lip": lip(0.5, 0.22 + own_gap),
        "inner_upper_lip": lip(0.44, -own_gap / 3),
        "inner_lower_lip": lip(0.44, own_gap * 2 / 3),
        "left_upper_lid": eye(-0.65, -0.12),
        "left_lower_lid": eye(-0.65, 0.08),
        "right_upper_lid": eye(0.65, -0.12),
        "right_lower_lid": eye(0.65, 0.08),
        "left_brow": brow - np.array([0.65, 0]),
        "right_brow": brow + np.array([0.65, 0]),
        "nose": np.array([[0, -1.2], [0, -0.6], [0, -0.45], [-0.28, -0.5], [0.28, -0.5]]),
        "oval": np.column_stack([1.35 * np.sin(angles), -0.75 - 1.65 * np.cos(angles)]),
    }


def _fill(picture: NDArray[np.uint8], outline: NDArray[np.float64], colour: tuple[int, int, int]) -> None:
    cv2.fillPoly(picture, [np.round(outline * 16).astype(np.int32)], colour, cv2.LINE_AA, 4)
