"""One face followed through a video, frame by frame."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.faces import FaceFinder
from musetalk_cli.engine.avatar.landmarks import FloatArray
from musetalk_cli.engine.colour import ByteArray


class Trouble(str, Enum):
    """Why a frame's face cannot be used; the value completes "… in frame 12"."""

    NONE = ""
    NO_FACE = "no face"
    CUT_OFF = "face cut off by the edge"
    PROFILE = "face turned too far"
    TOO_SMALL = "face too small"
    IMPLAUSIBLE = "unsure face"


@dataclass(frozen=True)
class FaceTrack:
    """One face in n frames.

    ``points`` float32 (n, 468, 2): pixels; NaN where ``is_found`` (bool, n) is False and no filling has been done.
    ``is_cut`` (bool, n): a new shot begins here, so nothing before it says anything about it (frame 0 is always one).
    ``trouble``: one per frame, Trouble.NONE where the face was found. ``presence`` float32 (n,) 0..1, ``yaw_deg``
    float32 (n,): how far the head is turned, positive towards the picture's right; both NaN where no mesh was seen.
    ``num_faces``: the most faces seen at once.
    """

    points: FloatArray
    is_found: NDArray[np.bool_]
    is_cut: NDArray[np.bool_]
    trouble: tuple[Trouble, ...]
    presence: FloatArray
    yaw_deg: FloatArray
    num_faces: int

    @property
    def found_share(self) -> float:
        """The share of frames with a usable face, 0..1."""
        return float(self.is_found.mean()) if len(self.is_found) else 0.0

    def gaps(self) -> list[tuple[int, int, Trouble]]:
        """Runs of frames without a usable face: first frame, last frame, the run's most frequent trouble."""
        raise NotImplementedError


def track_face(frames: Iterable[ByteArray], finder: FaceFinder, *, face: int | None = None) -> FaceTrack:
    """Follow a face through BGR ``frames`` (all of one size), taken one at a time and not kept.

    ``face`` counts from 1, the largest; None is the largest of the first frame that has any, a number is that face of
    the first frame that has as many. Raises AvatarError when no frame has that many; a track without any face is not
    an error here: see ``found_share``.
    """
    raise NotImplementedError
