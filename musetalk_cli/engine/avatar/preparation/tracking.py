"""One face followed through a video, frame by frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.landmarks import FloatArray
from musetalk_cli.engine.avatar.mesh import NUM_MESH_POINTS, OUTER_EYE_CORNERS
from musetalk_cli.engine.avatar.preparation.faces import FaceFinder, Mesh, region_of_points
from musetalk_cli.engine.avatar.preparation.plausibility import LEAST_PRESENCE, RejectReason, reject_reason_of, yaw_deg
from musetalk_cli.engine.avatar.preparation.shots import CutDetector, jumps
from musetalk_cli.engine.types.colour import ByteArray
from musetalk_cli.errors import AvatarError

# A mesh that has become this much larger or smaller, or moved by this share of its region, is no longer the same face.
LARGEST_GROWTH = 1.4
LARGEST_STEP = 0.35
# Tiles take ten times as long as the whole frame, so a lost face is searched in them now and then.
TILES_EVERY = 5
# How far from where it was lost a face may come back, in sides of its region, and how that grows with every frame.
REACH, REACH_PER_FRAME = 0.7, 0.1


@dataclass(frozen=True)
class FaceTrack:
    """One face in n frames.

    ``points`` float32 (n, 468, 2): pixels; NaN where ``is_found`` (bool, n) is False and no filling has been done.
    ``is_cut`` (bool, n): a new shot begins here, so nothing before it says anything about it (frame 0 is always one).
    ``reject_reason``: one per frame, RejectReason.NONE where the face was found. ``presence`` float32 (n,) 0..1,
    ``yaw_deg`` float32 (n,): how far the head is turned, positive towards the image's right; both NaN where no mesh
    was seen.
    ``num_faces``: the most faces seen at once.
    """

    points: FloatArray
    is_found: NDArray[np.bool_]
    is_cut: NDArray[np.bool_]
    reject_reason: tuple[RejectReason, ...]
    presence: FloatArray
    yaw_deg: FloatArray
    num_faces: int

    @property
    def found_share(self) -> float:
        """The share of frames with a usable face, 0..1."""
        return float(self.is_found.mean()) if len(self.is_found) else 0.0

    def gaps(self) -> list[tuple[int, int, RejectReason]]:
        """Runs of frames without a usable face: first frame, last frame, the run's most frequent reason."""
        runs = []
        for is_found, frames in groupby(range(len(self.reject_reason)), key=lambda i: bool(self.is_found[i])):
            run = list(frames)
            if not is_found:
                most = Counter(self.reject_reason[i] for i in run).most_common(1)[0][0]
                runs.append((run[0], run[-1], most))
        return runs


def track_face(frames: Iterable[ByteArray], finder: FaceFinder, *, face: int | None = None) -> FaceTrack:
    """Follow a face through BGR ``frames`` (all of one size), read one at a time and then dropped.

    ``face`` counts from 1, the largest; None is the largest that can be used of the first frame that has any, a number
    is that face of the first frame that has as many. Raises AvatarError when no frame has that many; a track without
    any face is not an error here: see ``found_share``.
    """
    follower = _Follower(finder, face)
    detections = [follower.detect(image) for image in frames]
    if face is not None and face > follower.num_faces:
        count = f"{follower.num_faces} face{'' if follower.num_faces == 1 else 's'}"
        raise AvatarError(f"face {face} was asked for; at most {count} can be seen at once")
    return _gather(detections, follower.num_faces)


@dataclass(frozen=True)
class _Detection:
    """The followed face in one frame."""

    mesh: Mesh | None
    reject_reason: RejectReason
    is_cut: bool


class _Follower:
    """Remembers where the face was, and what has to be known to find it again."""

    def __init__(self, finder: FaceFinder, face: int | None) -> None:
        self.num_faces = 0
        self._finder = finder
        self._face = face
        self._cuts = CutDetector()
        self._last: Mesh | None = None
        self._is_lost = True
        self._num_lost = 0

    def detect(self, image: ByteArray) -> _Detection:
        is_cut = self._cuts.is_cut(image)
        if is_cut:
            self._last, self._is_lost, self._num_lost = None, True, 0
        mesh = None if self._is_lost or self._last is None else self._follow(image, self._last)
        if mesh is None:
            mesh = self._search(image)
        self._is_lost = mesh is None
        self._num_lost = self._num_lost + 1 if mesh is None else 0
        if mesh is None:
            return _Detection(None, RejectReason.NO_FACE, is_cut)
        self._last = mesh
        height, width = image.shape[:2]
        return _Detection(mesh, reject_reason_of(mesh.points, mesh.presence, width, height), is_cut)

    def _follow(self, image: ByteArray, last: Mesh) -> Mesh | None:
        """Run the mesh net where the face was in the frame before; None when it is not there, or something else is."""
        before = region_of_points(last.points)
        mesh = self._finder.mesh(image, before)
        now = region_of_points(mesh.points)
        step = np.hypot(now.x - before.x, now.y - before.y) / before.side
        growth = max(now.side / before.side, before.side / max(now.side, 1e-6))
        is_same = mesh.presence >= LEAST_PRESENCE and step < LARGEST_STEP and growth < LARGEST_GROWTH
        return mesh if is_same else None

    def _search(self, image: ByteArray) -> Mesh | None:
        found = self._finder.find(image, thoroughly=self._num_lost % TILES_EVERY == 0)
        self.num_faces = max(self.num_faces, len(found))
        if self._last is None:
            return self._choose(found, image)
        last, reach = region_of_points(self._last.points), REACH + REACH_PER_FRAME * self._num_lost
        regions = [region_of_points(mesh.points) for mesh in found]
        away = [float(np.hypot(r.x - last.x, r.y - last.y)) / max(last.side, r.side) for r in regions]
        nearest = int(np.argmin(away)) if away else -1
        return found[nearest] if away and away[nearest] <= reach else None

    def _choose(self, found: list[Mesh], image: ByteArray) -> Mesh | None:
        """The face to follow from now on, out of those of a frame, largest first."""
        if self._face is not None:
            return found[self._face - 1] if len(found) >= self._face else None
        height, width = image.shape[:2]
        usable = [m for m in found if reject_reason_of(m.points, m.presence, width, height) is RejectReason.NONE]
        return next(iter(usable or found), None)


def _gather(detections: list[_Detection], num_faces: int) -> FaceTrack:
    is_found = np.array([detection.reject_reason is RejectReason.NONE for detection in detections], dtype=bool)
    points = np.full((len(detections), NUM_MESH_POINTS, 2), np.nan, np.float32)
    presence, yaw = np.full(len(detections), np.nan, np.float32), np.full(len(detections), np.nan, np.float32)
    for i, detection in enumerate(detections):
        if detection.mesh is not None:
            presence[i], yaw[i] = detection.mesh.presence, yaw_deg(detection.mesh.points)
            if is_found[i]:
                points[i] = detection.mesh.points[:, :2]
    left, right = (points[:, index] for index in OUTER_EYE_CORNERS)
    leaps = jumps(points.mean(axis=1), np.linalg.norm(right - left, axis=1))
    is_cut = np.array([detection.is_cut for detection in detections], dtype=bool) | leaps
    return FaceTrack(points, is_found, is_cut, tuple(s.reject_reason for s in detections), presence, yaw, num_faces)
