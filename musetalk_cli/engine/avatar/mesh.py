"""Which points of the 468-point face mesh make up the landmarks, and the 68 points that MuseTalk's face box asks for.

The numbering is that of MediaPipe's canonical face model (468 vertices, Apache-2.0).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.landmarks import FloatArray, Landmarks

NUM_MESH_POINTS = 468

OUTER_UPPER_LIP = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
OUTER_LOWER_LIP = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)
INNER_UPPER_LIP = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
INNER_LOWER_LIP = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
LEFT_UPPER_LID = (33, 246, 161, 160, 159, 158, 157, 173, 133)
LEFT_LOWER_LID = (33, 7, 163, 144, 145, 153, 154, 155, 133)
RIGHT_UPPER_LID = (362, 398, 384, 385, 386, 387, 388, 466, 263)
RIGHT_LOWER_LID = (362, 382, 381, 380, 374, 373, 390, 249, 263)
LEFT_BROW = (70, 63, 105, 66, 107)
RIGHT_BROW = (336, 296, 334, 293, 300)
NOSE = (168, 1, 2, 98, 327)
# fmt: off
OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)
# fmt: on
GROUPS = {
    "outer_upper_lip": OUTER_UPPER_LIP,
    "outer_lower_lip": OUTER_LOWER_LIP,
    "inner_upper_lip": INNER_UPPER_LIP,
    "inner_lower_lip": INNER_LOWER_LIP,
    "left_upper_lid": LEFT_UPPER_LID,
    "left_lower_lid": LEFT_LOWER_LID,
    "right_upper_lid": RIGHT_UPPER_LID,
    "right_lower_lid": RIGHT_LOWER_LID,
    "left_brow": LEFT_BROW,
    "right_brow": RIGHT_BROW,
    "nose": NOSE,
    "oval": OVAL,
}

OUTER_EYE_CORNERS = (33, 263)
CHIN = 152
LIPS = tuple(sorted({*OUTER_UPPER_LIP, *OUTER_LOWER_LIP, *INNER_UPPER_LIP, *INNER_LOWER_LIP}))
LIDS = tuple(sorted({*LEFT_UPPER_LID, *LEFT_LOWER_LID, *RIGHT_UPPER_LID, *RIGHT_LOWER_LID}))

# The outline from the left ear over the chin to the right one; the 68-point scheme spreads 17 points evenly over it.
JAW = tuple(reversed(OVAL[7:30]))
IBUG_BROWS = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)
# The 68-point scheme divides the nose's ridge into three equal parts; no vertex lies there, but a pair lies around it.
IBUG_RIDGE = ((168, 168), (6, 197), (195, 5), (4, 4))
IBUG_NOSE_BASE = (98, 97, 2, 326, 327)
IBUG_EYES = (33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380)
IBUG_OUTER_LIPS = (61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181)
IBUG_INNER_LIPS = (78, 81, 13, 311, 308, 402, 14, 178)


def landmarks_of(points: NDArray[np.floating]) -> Landmarks:
    """The named groups of a mesh ``points`` (468, 2 or 3): pixels, x right, y down, pixel centres at integers."""
    plane = np.asarray(points, dtype=np.float32)[:, :2]
    return Landmarks(**{name: plane[list(indices)] for name, indices in GROUPS.items()})


def ibug68_of(points: NDArray[np.floating]) -> FloatArray:
    """A mesh (468, 2 or 3) as float32 (68, 2) in the iBUG order: jaw, brows, nose, eyes, outer lips, inner lips.

    The order is that of Sagonas et al., "300 Faces in-the-Wild Challenge" (2013); 8 is the chin, 29 the third point of
    the nose's ridge. Jaw and ridge are interpolated, since the two schemes have no vertices in common there.
    """
    plane = np.asarray(points, dtype=np.float32)[:, :2]
    ridge = np.stack([plane[list(pair)].mean(axis=0) for pair in IBUG_RIDGE])
    rest = [plane[list(indices)] for indices in (IBUG_NOSE_BASE, IBUG_EYES, IBUG_OUTER_LIPS, IBUG_INNER_LIPS)]
    return np.concatenate([_jaw(plane), plane[list(IBUG_BROWS)], ridge, *rest]).astype(np.float32)


def _jaw(plane: FloatArray) -> FloatArray:
    """17 points, evenly spaced from ear to chin (the ninth) and from there to the other ear."""
    line = plane[list(JAW)]
    chin = JAW.index(CHIN)
    return np.concatenate([_evenly(line[: chin + 1], 9), _evenly(line[chin:], 9)[1:]])


def _evenly(line: FloatArray, count: int) -> FloatArray:
    lengths = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    at = np.linspace(0.0, lengths[-1], count)
    return np.stack([np.interp(at, lengths, line[:, axis]) for axis in (0, 1)], axis=1).astype(np.float32)
