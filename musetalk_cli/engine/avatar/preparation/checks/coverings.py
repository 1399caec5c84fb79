"""Whether a mesh lies on a person's mouth that can be seen: the nets also draw it on masks, hands, dogs and statues."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.landmarks import FloatArray
from musetalk_cli.engine.avatar.mesh import LIPS, OUTER_EYE_CORNERS, OUTER_LOWER_LIP
from musetalk_cli.engine.avatar.preparation.checks.medians import median
from musetalk_cli.engine.avatar.visibility import shots_of
from musetalk_cli.engine.types.planar_frame import SearchedImage, part_bgr

# How far the lips move when a face is framed a little differently, as a share of the distance between the outer eye
# corners. Measured on 60 photographs: people 0.5 % to 1.7 %, masks and hands 1.4 % to 3.8 %, animals 1.5 % to 11 %.
DOUBTFUL_UNSTEADINESS = 0.018
LARGEST_UNSTEADINESS = 0.026
COVERED_UNSTEADINESS = 1.0  # stands for a mouth that is seen to be covered
# Something covers a mouth that has no lips, and whose surroundings have another colour than the bridge of the nose:
# distances in CIELAB, lightness apart from colour.
LIPS_COLOUR, LIPS_LIGHTNESS = 2.0, 7.0
SKIN_COLOUR = 11.0
UNDER_LIPS = (18, 83, 313, 200, 199)
NOSE_BRIDGE = (6, 122, 351, 168)
# sRGB's primaries in XYZ, each row divided by D65's white.
_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_XYZ /= _XYZ.sum(axis=1, keepdims=True)
BLUR = 1 / 60  # standard deviation, distances between the eyes


def unsteadiness(meshes: Sequence[FloatArray]) -> float:
    """How much the lips of one face differ between ``meshes`` (468, 2 or 3), as a share of the eyes' distance."""
    points = np.stack([mesh[:, :2] for mesh in meshes]).astype(np.float64)
    left, right = (points[:, index].mean(axis=0) for index in OUTER_EYE_CORNERS)
    eyes = max(float(np.linalg.norm(right - left)), 1e-6)
    spread = np.linalg.norm(points[:, list(LIPS)].std(axis=0), axis=1)
    return float(spread.mean()) / eyes


def is_mouth_covered(image: SearchedImage, points: FloatArray) -> bool:
    """Whether a mask or the like is where a mesh ``points`` (468, 2 or 3) has its mouth, in an image."""
    plane = points[:, :2]
    left, right = (plane[index] for index in OUTER_EYE_CORNERS)
    eyes = float(np.linalg.norm(right - left))
    lips, under, bridge = (_lab(image, plane[list(part)], eyes) for part in (OUTER_LOWER_LIP, UNDER_LIPS, NOSE_BRIDGE))
    if lips is None or under is None or bridge is None:
        return False
    has_no_lips = np.hypot(*(lips - under)[1:]) <= LIPS_COLOUR and abs(lips[0] - under[0]) <= LIPS_LIGHTNESS
    return bool(has_no_lips and np.hypot(*(under - bridge)[1:]) >= SKIN_COLOUR)


def doubtful_frames(measured: Sequence[float | None], is_cut: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Frames, bool (n,), in which a mouth is likely to be hidden, or not a person's.

    A frame in which it was not measured is judged by the measurements before and behind it in its shot: of two that
    disagree, by the more doubtful one. A measurement alone may be a blurred frame, unless it is the only one.
    """
    doubtful = np.zeros(len(measured), bool)
    for shot in shots_of(is_cut):
        known = [(shot.start + i, value) for i, value in enumerate(measured[shot]) if value is not None]
        for place, (_, value) in enumerate(known):
            near = [other for _, other in known[max(0, place - 1) : place] + known[place + 1 : place + 2]]
            nearest = max(near, default=value)
            if min(value, nearest) > DOUBTFUL_UNSTEADINESS and (
                value > LARGEST_UNSTEADINESS or nearest > LARGEST_UNSTEADINESS
            ):
                first = known[place - 1][0] + 1 if place else shot.start
                last = known[place + 1][0] if place + 1 < len(known) else shot.stop
                doubtful[first:last] = True
    return doubtful


def _lab(image: SearchedImage, outline: FloatArray, eyes_px: float) -> NDArray[np.float64] | None:
    """The median colour within the hull of some points, as L 0..100, a, b; None where it lies outside the image."""
    hull = cv2.convexHull(outline.astype(np.float32)).reshape(-1, 2)
    margin = max(2, round(0.05 * eyes_px))
    size = np.array(image.shape[1::-1])
    low = np.clip(np.floor(hull.min(axis=0)).astype(int) - margin, 0, size)
    high = np.clip(np.ceil(hull.max(axis=0)).astype(int) + margin + 1, 0, size)
    if (high <= low).any():
        return None
    part = cv2.GaussianBlur(part_bgr(image, low, high), (0, 0), max(BLUR * eyes_px, 0.3))
    mask = np.zeros(part.shape[:2], np.uint8)
    cv2.fillConvexPoly(mask, (hull - low).round().astype(np.int32), 1)
    if not mask.any():
        return None
    return to_lab(median(part[mask > 0]))


def to_lab(bgr: NDArray[np.floating]) -> NDArray[np.float64]:
    """One colour in CIELAB (D65), from sRGB 0..255. OpenCV's conversion sets up tables, which takes longer."""
    share = np.asarray(bgr[::-1], np.float64) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    x, y, z = _XYZ @ linear
    fx, fy, fz = (float(np.cbrt(v)) if v > 0.008856 else 7.787 * float(v) + 16 / 116 for v in (x, y, z))
    return np.array([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)])
