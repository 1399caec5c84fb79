"""What the lower half of a face looks like in each frame of a video: whether a hand or the like comes before its mouth.

A single frame does not tell, as a hand has the colour of skin, and the mesh net draws a mouth on it. But the lips, the
shadow below them and the chin form a pattern that stays while a person talks, and that a hand, a microphone or a cup
replaces by another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.landmarks import FloatArray
from musetalk_cli.engine.avatar.mesh import GROUPS, OUTER_EYE_CORNERS
from musetalk_cli.engine.avatar.preparation.checks.plausibility import yaw_deg
from musetalk_cli.engine.avatar.visibility import Flags, shots_of
from musetalk_cli.engine.types.colour import ByteArray, as_bytes
from musetalk_cli.engine.types.planar_frame import Plane, SearchedImage, sample_bgr

CELLS, CELL_PX = 8, 4
# Left, top, right, bottom from the base of the nose, distances between the outer eye corners: the lower face, what its
# light is measured on, and the eyes.
LOWER, MIDDLE, EYES = (-0.27, 0.05, 0.27, 0.59), (-0.25, -0.38, 0.25, -0.08), (-0.55, -0.7, 0.55, -0.28)
DARK = 12.0  # added to all levels, so that noise in the dark counts little
# Correlation with the shot's usual pattern: 0.55 and more while people talk, laugh and turn, 0.48 and less behind
# hands, sleeves and cups. Microphones had 0.57 at most, and more than LARGEST_CHANGE of the cells changed.
LEAST_LIKENESS, LEAST_CHANGED_LIKENESS, LARGEST_CHANGE = 0.5, 0.65, 0.45
# Shots whose frames are less like each other than the first, usually, are not judged, nor frames that are nearly as
# like the usual pattern as most.
LEAST_USUAL_LIKENESS, LEAST_DROP = 0.6, 0.3
LEAST_FRAMES = 12
LARGEST_TURN_DEG = 15.0  # from the shot's usual yaw; on a face turned further, the pattern is another
# Changes of a cell's lightness and colour (natural logarithms), that count: at least, and in usual deviations.
LIGHTNESS, COLOUR, TIMES_USUAL = 0.18, 0.06, 4.0
SAME_EYES = 0.95  # correlation of the eyes before and after what looks like a cut, from which on it is none
LARGEST_STEP = 0.2  # of a face within a shot, from one frame that shows it to the next; distances between the eyes
NUM_AROUND = 2  # frames on either side of one over which the median is taken
NUM_BEFORE = 3  # frames left alone before and behind those that are covered: what comes is near by then


@dataclass(frozen=True)
class FaceHalves:
    """The two halves of a face in one frame, on grids of cells.

    ``lower`` float32 (CELLS, CELLS, 3): lightness, red against green, blue against green, relative to the middle of the
    face, as logarithms of ratios. ``eyes`` float32 (CELLS, CELLS, 3): levels of B, G, R. ``centre`` (x, y) and
    ``eyes_px``: where the face is, and the distance between its outer eye corners, pixels. ``yaw_deg``: its turn.
    """

    lower: FloatArray
    eyes: FloatArray
    centre: tuple[float, float]
    eyes_px: float
    yaw_deg: float


def measure_halves(image: SearchedImage, points: FloatArray) -> FaceHalves:
    """The halves of the face of a mesh ``points`` (468, 3) in an image."""
    left, right = (points[index, :2].astype(np.float64) for index in OUTER_EYE_CORNERS)
    base = points[GROUPS["nose"][2], :2].astype(np.float64)
    lower, middle, around_eyes = (_cells(image, base, right - left, area) for area in (LOWER, MIDDLE, EYES))
    usual = np.sort(middle.reshape(-1, 3), axis=0)[CELLS * CELLS // 2]
    levels = np.log(lower + DARK) - np.log(usual + DARK)
    blue, green, red = cv2.split(levels)
    relative = np.asarray(np.dstack([levels.mean(axis=2), red - green, blue - green]), np.float32)
    eyes_px = float(np.linalg.norm(right - left))
    return FaceHalves(relative, around_eyes, (float(base[0]), float(base[1])), eyes_px, yaw_deg(points))


def covered_frames(faces: Sequence[FaceHalves | None], is_cut: NDArray[np.bool_]) -> Flags:
    """Frames, bool (n,), in which something comes before a mouth that is seen in the rest of its shot.

    Args:
        faces: of every frame; None where there is no usable face.
        is_cut: bool (n,): a new shot begins here, or a hand has come so suddenly that it looks like one.
    """
    covered = np.zeros(len(faces), bool)
    for shot in shots_of(_is_new(faces, is_cut)):
        frames = np.array([i for i in range(shot.start, shot.stop) if faces[i] is not None])
        if len(frames) >= LEAST_FRAMES:
            for frame in frames[_unlike([face for face in faces[shot] if face is not None])]:
                covered[max(shot.start, frame - NUM_BEFORE) : min(shot.stop, frame + NUM_BEFORE + 1)] = True
    return covered


def _is_new(faces: Sequence[FaceHalves | None], is_cut: NDArray[np.bool_]) -> Flags:
    """Frames, bool (n,), from which on the face is another, or elsewhere, where something else lies behind it."""
    is_new, last = np.zeros(len(faces), bool), None
    has_cut = True
    for i, face in enumerate(faces):
        has_cut = has_cut or bool(is_cut[i])
        if face is not None:
            is_new[i] = (
                last is None or _has_leapt(last, face) or (has_cut and _likeness(last.eyes, face.eyes) < SAME_EYES)
            )
            last, has_cut = face, False
    return is_new


def _has_leapt(one: FaceHalves, other: FaceHalves) -> bool:
    away = np.hypot(other.centre[0] - one.centre[0], other.centre[1] - one.centre[1])
    return bool(away > LARGEST_STEP * one.eyes_px)


def _likeness(one: FloatArray, other: FloatArray) -> float:
    """Correlation of two grids of cells, -1..1."""
    first, second = one - one.mean(), other - other.mean()
    lengths = float(np.linalg.norm(first)) * float(np.linalg.norm(second))
    return float((first * second).sum()) / max(lengths, 1e-6)


def _unlike(halves: list[FaceHalves]) -> Flags:
    """Which of one shot's faces are covered, bool (n,)."""
    faces, yaw = np.stack([each.lower for each in halves]), np.array([each.yaw_deg for each in halves], np.float32)
    usual = _median(faces)
    away = np.abs(faces - usual)
    spread = 1.5 * TIMES_USUAL * _median(away)
    is_changed = (away[..., 0] > np.maximum(LIGHTNESS, spread[..., 0])) | (
        np.hypot(away[..., 1], away[..., 2]) > np.maximum(COLOUR, np.hypot(spread[..., 1], spread[..., 2]))
    )
    changed = _smooth(is_changed.mean(axis=(1, 2)))
    patterns = faces - faces.mean(axis=(1, 2), keepdims=True)
    pattern = _median(patterns)
    lengths = np.sqrt((pattern**2).sum() * (patterns**2).sum(axis=(1, 2, 3)))
    like = _smooth((patterns * pattern).sum(axis=(1, 2, 3)) / np.maximum(lengths, 1e-6))
    middle = float(_median(like))
    is_unlike = (like < LEAST_LIKENESS) | ((like < LEAST_CHANGED_LIKENESS) & (changed > LARGEST_CHANGE))
    is_turned = np.abs(yaw - _median(yaw)) > LARGEST_TURN_DEG
    return np.asarray(is_unlike & ~is_turned & (like < middle - LEAST_DROP) & (middle >= LEAST_USUAL_LIKENESS), bool)


def _cells(
    image: SearchedImage, base: NDArray[np.float64], eyes: NDArray[np.float64], area: tuple[float, float, float, float]
) -> FloatArray:
    """The mean BGR levels of a grid of cells over an area of a face, float32 (CELLS, CELLS, 3)."""
    left, top, right, bottom = area
    down = np.array([-eyes[1], eyes[0]])
    count = CELLS * CELL_PX
    across_px, down_px = eyes * (right - left) / count, down * (bottom - top) / count
    first = base + eyes * left + down * top + (across_px + down_px) / 2
    to_image = np.column_stack([across_px, down_px, first])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP

    def read(plane: Plane) -> ByteArray:
        to_plane = plane.map(to_image)
        part = cv2.warpAffine(plane.pixels, to_plane, (count, count), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        return as_bytes(cv2.resize(part, (CELLS, CELLS), interpolation=cv2.INTER_AREA))

    return sample_bgr(image, read).astype(np.float32)


def _smooth(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Running median: one blurred frame is no covering."""
    padded = np.pad(values, NUM_AROUND, "edge")
    return _median(np.stack([padded[k : k + len(values)] for k in range(2 * NUM_AROUND + 1)]))


def _median(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """The (upper) median along the first axis; not numpy's, which takes long to import."""
    return np.asarray(np.sort(values, axis=0)[len(values) // 2])
