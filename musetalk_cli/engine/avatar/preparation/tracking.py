"""One face followed through a video, and what is judged over all its frames."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.landmarks import FloatArray
from musetalk_cli.engine.avatar.mesh import NUM_MESH_POINTS, OUTER_EYE_CORNERS
from musetalk_cli.engine.avatar.preparation.checks.coverings import (
    doubtful_frames,
)
from musetalk_cli.engine.avatar.preparation.checks.lower_face import covered_frames
from musetalk_cli.engine.avatar.preparation.checks.plausibility import (
    RejectReason,
    yaw_deg,
)
from musetalk_cli.engine.avatar.preparation.checks.thumbnails import faded_frames
from musetalk_cli.engine.avatar.preparation.faces import FaceFinder, Mesh
from musetalk_cli.engine.avatar.preparation.following import Detection, FaceChoice, Follower
from musetalk_cli.engine.avatar.preparation.shots import jumps
from musetalk_cli.engine.avatar.visibility import Area, runs_of
from musetalk_cli.engine.types.planar_frame import SearchedImage
from musetalk_cli.errors import AvatarError


@dataclass(frozen=True)
class FaceTrack:
    """One face in n frames.

    ``points`` float32 (n, 468, 2): pixels; NaN where ``is_found`` (bool, n) is False and no filling has been done.
    ``is_cut`` (bool, n): a new shot begins here, so nothing before it says anything about it (frame 0 is always one).
    ``reject_reason``: one per frame, RejectReason.NONE where the face was found. ``presence`` float32 (n,) 0..1,
    ``yaw_deg`` float32 (n,): how far the head is turned, positive towards the image's right; both NaN where no mesh
    was seen.
    ``num_faces``: the most faces seen at once. ``is_alike`` bool (n,): there is a usable face, or the image looks as
    it did where the last one was. ``unsteadiness``: the median of its measurements. ``area``: what lies within the
    frames' bars, None where that is not known. ``first_faces``: all faces of the first frame, largest first.
    """

    points: FloatArray
    is_found: NDArray[np.bool_]
    is_cut: NDArray[np.bool_]
    reject_reason: tuple[RejectReason, ...]
    presence: FloatArray
    yaw_deg: FloatArray
    num_faces: int
    is_alike: NDArray[np.bool_]
    unsteadiness: float = 0.0
    area: Area | None = None
    first_faces: tuple[Mesh, ...] = ()

    @property
    def found_share(self) -> float:
        """The share of frames with a usable face, 0..1."""
        return float(self.is_found.mean()) if len(self.is_found) else 0.0

    def gaps(self, is_shown: NDArray[np.bool_] | None = None) -> list[tuple[int, int, RejectReason]]:
        """Runs of frames without a usable face: first frame, last frame, the run's most frequent reason.

        ``is_shown`` bool (n,) tells which frames count as usable; None for ``is_found``.
        """
        gaps: list[tuple[int, int, RejectReason]] = []
        for first, last in runs_of(~(self.is_found if is_shown is None else is_shown)):
            counts = Counter(why for why in self.reject_reason[first:last] if why is not RejectReason.NONE)
            most = counts.most_common(1)[0][0] if counts else RejectReason.BRIEF
            gaps.append((first, last - 1, most))
        return gaps


def track_face(frames: Iterable[SearchedImage], finder: FaceFinder, *, face: FaceChoice = None) -> FaceTrack:
    """Follow a face through ``frames``, BGR or planar and all of one size, read one at a time and then dropped.

    ``face`` counts from 1, the largest; None is the largest that can be used of the first frame that has any, a number
    is that face of the first frame that has as many. ``left`` and ``right`` are the outermost of several, and a single
    one in that half of the frame. Raises AvatarError when no frame has that many; a track without
    any face is not an error here: see ``found_share``.
    """
    follower = Follower(finder, face)
    detections = [follower.detect(image) for image in frames]
    if isinstance(face, int) and face > follower.num_faces:
        count = f"{follower.num_faces} face{'' if follower.num_faces == 1 else 's'}"
        raise AvatarError(f"face {face} was asked for; at most {count} can be seen at once")
    return replace(_gather(detections, follower.num_faces, follower.area), first_faces=follower.first_faces or ())


def _gather(detections: list[Detection], num_faces: int, area: Area) -> FaceTrack:
    is_cut = np.array([detection.is_cut for detection in detections], dtype=bool)
    covered = covered_frames([detection.halves for detection in detections], is_cut)
    thumbnails = [None if hidden else each.thumbnail for each, hidden in zip(detections, covered, strict=True)]
    faded = faded_frames(thumbnails, is_cut)
    reasons = tuple(
        RejectReason.FADED if has_faded else detection.reject_reason
        for detection, has_faded in zip(detections, faded, strict=True)
    )
    measured = [detection.unsteadiness for detection in detections]
    doubtful = doubtful_frames(measured, is_cut)
    reasons = tuple(
        RejectReason.NO_PERSON if is_doubtful and reason is RejectReason.NONE else reason
        for reason, is_doubtful in zip(reasons, doubtful, strict=True)
    )
    reasons = tuple(
        RejectReason.COVERED if is_covered and reason is RejectReason.NONE else reason
        for reason, is_covered in zip(reasons, covered, strict=True)
    )
    is_found = np.array([reason is RejectReason.NONE for reason in reasons], dtype=bool)
    points = np.full((len(detections), NUM_MESH_POINTS, 2), np.nan, np.float32)
    presence, yaw = np.full(len(detections), np.nan, np.float32), np.full(len(detections), np.nan, np.float32)
    for i, detection in enumerate(detections):
        if detection.mesh is not None:
            presence[i], yaw[i] = detection.mesh.presence, yaw_deg(detection.mesh.points)
            if is_found[i]:
                points[i] = detection.mesh.points[:, :2]
    left, right = (points[:, index] for index in OUTER_EYE_CORNERS)
    leaps = jumps(points.mean(axis=1), np.linalg.norm(right - left, axis=1))
    known = sorted(value for value in measured if value is not None)
    usual = known[len(known) // 2] if known else 0.0
    is_alike = np.array([detection.is_alike for detection in detections], dtype=bool) & ~covered
    return FaceTrack(points, is_found, is_cut | leaps, reasons, presence, yaw, num_faces, is_alike, usual, area)
