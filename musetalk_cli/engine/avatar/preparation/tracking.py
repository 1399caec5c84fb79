"""One face followed through a video, frame by frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.landmarks import FloatArray
from musetalk_cli.engine.avatar.mesh import NUM_MESH_POINTS, OUTER_EYE_CORNERS
from musetalk_cli.engine.avatar.preparation.checks.bars import common_area, image_area
from musetalk_cli.engine.avatar.preparation.checks.coverings import (
    COVERED_UNSTEADINESS,
    DOUBTFUL_UNSTEADINESS,
    LARGEST_UNSTEADINESS,
    doubtful_frames,
    is_mouth_covered,
)
from musetalk_cli.engine.avatar.preparation.checks.lower_face import FaceHalves, covered_frames, measure_halves
from musetalk_cli.engine.avatar.preparation.checks.plausibility import (
    LEAST_PRESENCE,
    RejectReason,
    reject_reason_of,
    yaw_deg,
)
from musetalk_cli.engine.avatar.preparation.checks.thumbnails import faded_frames, likeness, thumbnail
from musetalk_cli.engine.avatar.preparation.faces import FaceFinder, FaceRegion, Mesh, region_of_points
from musetalk_cli.engine.avatar.preparation.shots import Cut, CutDetector, jumps
from musetalk_cli.engine.avatar.visibility import Area, runs_of
from musetalk_cli.engine.types.planar_frame import SearchedImage
from musetalk_cli.errors import AvatarError

# A mesh that has become this much larger or smaller, or moved by this share of its region, is no longer the same face.
LARGEST_GROWTH = 1.4
LARGEST_STEP = 0.35
# Tiles take ten times as long as the whole frame, so a lost face is searched in them now and then.
TILES_EVERY = 5
# How far from where it was lost a face may come back, in sides of its region, and how that grows with every frame.
REACH, REACH_PER_FRAME = 0.7, 0.1
# How far a head may be tilted from where it was lost: a face that is cut off may be taken for one upside down.
LARGEST_TILT_RAD = 1.0
# A sudden change of the image is no cut where the face followed over it looks the same.
LEAST_SAMENESS = 0.9
# A face that was not found is still there if the image looks as before where it was: the correlation of two thumbnails.
LEAST_LIKENESS = 0.8
# A face that is followed is checked for a covered mouth now and then, and more often once it is doubtful.
CHECK_EVERY, CHECK_DOUBTFUL_EVERY = 20, 5
AREA_EVERY = 5  # frames after which bars are measured again


# Which face of several: its number by size, the outermost on one side, or the largest that can be used.
FaceChoice = int | Literal["left", "right"] | None


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
    follower = _Follower(finder, face)
    detections = [follower.detect(image) for image in frames]
    if isinstance(face, int) and face > follower.num_faces:
        count = f"{follower.num_faces} face{'' if follower.num_faces == 1 else 's'}"
        raise AvatarError(f"face {face} was asked for; at most {count} can be seen at once")
    return replace(_gather(detections, follower.num_faces, follower.area), first_faces=follower.first_faces or ())


@dataclass(frozen=True)
class _Detection:
    """The followed face in one frame."""

    mesh: Mesh | None
    reject_reason: RejectReason
    is_cut: bool
    is_alike: bool
    thumbnail: FloatArray | None = None
    unsteadiness: float | None = None
    halves: FaceHalves | None = None


class _Follower:
    """Remembers where the face was, and what has to be known to find it again."""

    def __init__(self, finder: FaceFinder, face: FaceChoice) -> None:
        self.num_faces = 0
        self.first_faces: tuple[Mesh, ...] | None = None
        self._finder = finder
        self._face = face
        self._cuts = CutDetector()
        self._last: Mesh | None = None
        self._is_lost = True
        self._num_lost = 0
        self._is_usable = False
        self._num_unchecked, self._check_every = 1, CHECK_EVERY
        self._seen: tuple[FaceRegion, FloatArray] | None = None
        self._areas: set[Area] = set()
        self._area, self._area_age = Area.whole(1, 1), AREA_EVERY
        self._size = (0, 0)

    @property
    def area(self) -> Area:
        """What lies within the bars of all frames so far."""
        return common_area(self._areas, *self._size)

    def detect(self, image: SearchedImage) -> _Detection:
        self._size = (image.shape[1], image.shape[0])
        cut = self._cuts.judge(image)
        mesh = None if self._is_lost or self._last is None or cut is Cut.CERTAIN else self._follow(image, self._last)
        is_cut = cut is Cut.CERTAIN or (cut is Cut.LIKELY and not self._is_same(image, mesh))
        if is_cut:
            self._last, self._is_lost, self._num_lost, self._seen, mesh = None, True, 0, None, None
        is_followed = mesh is not None
        if mesh is None:
            mesh = self._search(image)
        self._is_lost = mesh is None
        self._num_lost = self._num_lost + 1 if mesh is None else 0
        area = self._measure_area(image, is_anew=is_cut)
        if mesh is None:
            return _Detection(None, RejectReason.NO_FACE, is_cut, self._looks_as_before(image))
        reason = reject_reason_of(mesh.points, mesh.presence, area)
        if reason is RejectReason.NONE and not self._is_usable and is_followed:
            # What could not be used may have been followed wrongly.
            mesh = self._search(image) or mesh
            reason = reject_reason_of(mesh.points, mesh.presence, area)
        checked = self._check(image, mesh) if reason is RejectReason.NONE else None
        if checked is not None and is_mouth_covered(image, mesh.points):
            reason, checked = RejectReason.COVERED, COVERED_UNSTEADINESS
        self._last, self._is_usable = mesh, reason is RejectReason.NONE
        if reason is not RejectReason.NONE:
            return _Detection(mesh, reason, is_cut, self._looks_as_before(image), unsteadiness=checked)
        region = region_of_points(mesh.points)
        self._seen = (region, _thumbnail(image, region))
        return _Detection(mesh, reason, is_cut, True, self._seen[1], checked, measure_halves(image, mesh.points))

    def _check(self, image: SearchedImage, mesh: Mesh) -> float | None:
        """The unsteadiness of a usable face, if it was measured or is to be measured in this frame."""
        measured = mesh.unsteadiness or None
        if measured is None and self._num_unchecked >= self._check_every:
            measured = self._finder.measure_unsteadiness(image, mesh)
        self._num_unchecked += 1
        if measured is not None:
            is_doubtful = measured > DOUBTFUL_UNSTEADINESS
            self._num_unchecked, self._check_every = 1, CHECK_DOUBTFUL_EVERY if is_doubtful else CHECK_EVERY
        return measured

    def _measure_area(self, image: SearchedImage, *, is_anew: bool) -> Area:
        """What lies within a frame's bars, which are measured now and then and in every shot."""
        if is_anew or self._area_age >= AREA_EVERY:
            self._area, self._area_age = image_area(image), 0
            self._areas.add(self._area)
        self._area_age += 1
        return self._area

    def _is_same(self, image: SearchedImage, mesh: Mesh | None) -> bool:
        """Whether a followed mesh shows the face that was seen last, wherever it is now."""
        if self._seen is None or mesh is None:
            return False
        return likeness(self._seen[1], _thumbnail(image, region_of_points(mesh.points))) >= LEAST_SAMENESS

    def _looks_as_before(self, image: SearchedImage) -> bool:
        """Whether the image still looks as it did where the last usable face was."""
        if self._seen is None:
            return False
        region, before = self._seen
        return likeness(before, _thumbnail(image, region)) >= LEAST_LIKENESS

    def _follow(self, image: SearchedImage, last: Mesh) -> Mesh | None:
        """Run the mesh net where the face was in the frame before; None when it is not there, or something else is."""
        before = region_of_points(last.points)
        mesh = self._finder.mesh(image, before)
        now = region_of_points(mesh.points)
        step = np.hypot(now.x - before.x, now.y - before.y) / before.side
        growth = max(now.side / before.side, before.side / max(now.side, 1e-6))
        is_same = mesh.presence >= LEAST_PRESENCE and step < LARGEST_STEP and growth < LARGEST_GROWTH
        return mesh if is_same else None

    def _search(self, image: SearchedImage) -> Mesh | None:
        found = self._finder.find(image, thoroughly=self._num_lost % TILES_EVERY == 0)
        self.num_faces = max(self.num_faces, len(found))
        if self.first_faces is None:
            self.first_faces = tuple(found)
        if self._last is None:
            return self._choose(found, image)
        last, reach = region_of_points(self._last.points), REACH + REACH_PER_FRAME * self._num_lost
        regions = [region_of_points(mesh.points) for mesh in found]
        away = [
            float(np.hypot(r.x - last.x, r.y - last.y)) / max(last.side, r.side) + _tilt_penalty(r, last)
            for r in regions
        ]
        nearest = int(np.argmin(away)) if away else -1
        return found[nearest] if away and away[nearest] <= reach else None

    def _choose(self, found: list[Mesh], image: SearchedImage) -> Mesh | None:
        """The face to follow from now on, out of those of a frame, largest first."""
        if self._face in ("left", "right"):
            return _outermost(found, image.shape[1] / 2, is_left=self._face == "left")
        if isinstance(self._face, int):
            return found[self._face - 1] if len(found) >= self._face else None
        area = image_area(image)
        usable = [m for m in found if _reason_in(image, m, area) is RejectReason.NONE]
        return next(iter(usable or found), None)


def _outermost(found: list[Mesh], middle_px: float, *, is_left: bool) -> Mesh | None:
    """The outermost of several faces; a single one only where it is in that half of the frame."""
    ordered = sorted(found, key=lambda mesh: float(mesh.points[:, 0].mean()), reverse=not is_left)
    is_there = len(found) > 1 or any((mesh.points[:, 0].mean() < middle_px) == is_left for mesh in found)
    return ordered[0] if is_there else None


def _tilt_penalty(region: FaceRegion, last: FaceRegion) -> float:
    """0 for a head that is not tilted much further than it was; infinite for another."""
    turn = (region.angle - last.angle + np.pi) % (2 * np.pi) - np.pi
    return 0.0 if abs(turn) <= LARGEST_TILT_RAD else float("inf")


def _reason_in(image: SearchedImage, mesh: Mesh, area: Area) -> RejectReason:
    """Judge one of several faces of an image, whose unsteadiness has been measured."""
    reason = reject_reason_of(mesh.points, mesh.presence, area)
    if reason is RejectReason.NONE and mesh.unsteadiness > LARGEST_UNSTEADINESS:
        return RejectReason.NO_PERSON
    return RejectReason.COVERED if reason is RejectReason.NONE and is_mouth_covered(image, mesh.points) else reason


def _thumbnail(image: SearchedImage, region: FaceRegion) -> FloatArray:
    """The inner part of a face, as ``thumbnail`` gives it."""
    return thumbnail(image, (region.x, region.y), region.side / 2)


def _gather(detections: list[_Detection], num_faces: int, area: Area) -> FaceTrack:
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
