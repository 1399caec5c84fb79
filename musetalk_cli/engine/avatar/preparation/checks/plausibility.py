"""Whether a mesh is a face that an avatar can be made of, and what is wrong when it is not."""

from __future__ import annotations

import math
from enum import Enum
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.landmarks import FloatArray
from musetalk_cli.engine.avatar.mesh import CHIN, LIDS, LIPS, NOSE, OUTER_EYE_CORNERS
from musetalk_cli.engine.avatar.visibility import Area

LEAST_PRESENCE = 0.5
# Below this the mouth is some ten pixels wide, and there is nothing in it to see.
LEAST_EYES_PX = 12.0
# The net was made for faces that show both eyes: of a full profile it says 50° to 55° and puts the hidden half
# somewhere, and the far outline is off well before that.
LARGEST_YAW_DEG = 40.0
# How far the chin may lie beyond the edge, in distances between the eyes. The net draws a missing chin too near.
CHIN_BEYOND_EDGE = 0.04
FOREHEAD = 10
# Left and right points that lie at the same depth in a face seen from the front.
LEVEL_LEFT, LEVEL_RIGHT = [33, 234, 127, 61], [263, 454, 356, 291]
# From the eyes to the mouth in distances between the outer eye corners: about 0.9 in people.
EYES_TO_MOUTH = (0.45, 1.8)
_LIPS, _NEEDED = list(LIPS), [*LIPS, *LIDS, *NOSE]


class RejectReason(str, Enum):
    """Why a frame's face cannot be used; the value completes "… in frame 12"."""

    NONE = ""
    NO_FACE = "no face"
    CUT_OFF = "face cut off by the edge"
    PROFILE = "face turned too far"
    TOO_SMALL = "face too small"
    IMPLAUSIBLE = "unsure face"
    COVERED = "mouth covered"
    NO_PERSON = "not a person's face, or its mouth is hidden"
    FADED = "face fading in or out"
    BRIEF = "face seen too briefly"


def reject_reason_of(points: FloatArray, presence: float, area: Area) -> RejectReason:
    """Judge a mesh ``points`` (468, 3) in an image that shows something within ``area``."""
    turn_deg = yaw_deg(points)
    if presence < LEAST_PRESENCE or not _is_face_like(points, turn_deg):
        return RejectReason.IMPLAUSIBLE
    if abs(turn_deg) > LARGEST_YAW_DEG:
        return RejectReason.PROFILE
    if eyes_px(points) < LEAST_EYES_PX:
        return RejectReason.TOO_SMALL
    return RejectReason.CUT_OFF if _is_cut_off(points, area) else RejectReason.NONE


def eyes_px(points: NDArray[np.floating]) -> float:
    """Distance between the outer corners of the eyes."""
    left, right = (points[index, :2].tolist() for index in OUTER_EYE_CORNERS)
    return math.dist(left, right)


def yaw_deg(points: NDArray[np.floating]) -> float:
    """How far a mesh (468, 3) is turned, positive when it looks towards the image's right.

    Taken from the net's own depth, so it is an estimate, and too small for large angles.
    """
    across = (points[LEVEL_RIGHT] - points[LEVEL_LEFT]).sum(axis=0).tolist()
    return math.degrees(math.atan2(across[2], math.hypot(across[0], across[1])))


def _is_face_like(points: FloatArray, turn_deg: float) -> bool:
    """Forehead, eyes, nose, mouth and chin follow on each other, at distances that faces have."""
    plane = points[:, :2].astype(np.float64)
    eyes = eyes_px(plane)
    if not np.isfinite(plane).all() or eyes < 1:
        return False
    left, right, forehead, nose, chin = plane[[*OUTER_EYE_CORNERS, FOREHEAD, NOSE[1], CHIN]]
    across = (right - left) / eyes
    parts = np.stack([forehead, (left + right) / 2, nose, plane[_LIPS].mean(axis=0), chin])
    heights = (parts @ (-across[1], across[0])).tolist()
    is_ordered = all(above < below for above, below in pairwise(heights))
    straight_eyes = eyes / math.cos(math.radians(min(max(turn_deg, -75), 75)))
    return is_ordered and EYES_TO_MOUTH[0] < (heights[3] - heights[1]) / straight_eyes < EYES_TO_MOUTH[1]


def _is_cut_off(points: FloatArray, area: Area) -> bool:
    plane, first, last = points[:, :2], np.array([area.left, area.top]), np.array([area.right - 1, area.bottom - 1])
    needed = plane[_NEEDED]
    beyond = max(float((plane[CHIN] - last).max()), float((first - plane[CHIN]).max()))
    return bool((needed < first).any() or (needed > last).any() or beyond > CHIN_BEYOND_EDGE * eyes_px(points))
