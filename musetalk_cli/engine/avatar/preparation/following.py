"""Follows one face from frame to frame: where it is, whether it is lost, and whether its mouth is hidden."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from musetalk_cli.engine.avatar.landmarks import FloatArray
from musetalk_cli.engine.avatar.preparation.checks.bars import common_area, image_area
from musetalk_cli.engine.avatar.preparation.checks.coverings import (
    COVERED_UNSTEADINESS,
    DOUBTFUL_UNSTEADINESS,
    LARGEST_UNSTEADINESS,
    is_mouth_covered,
)
from musetalk_cli.engine.avatar.preparation.checks.lower_face import FaceHalves, measure_halves
from musetalk_cli.engine.avatar.preparation.checks.plausibility import (
    LEAST_PRESENCE,
    RejectReason,
    reject_reason_of,
)
from musetalk_cli.engine.avatar.preparation.checks.thumbnails import likeness, thumbnail
from musetalk_cli.engine.avatar.preparation.faces import FaceFinder, FaceRegion, Mesh
from musetalk_cli.engine.avatar.preparation.shots import Cut, CutDetector
from musetalk_cli.engine.avatar.visibility import Area
from musetalk_cli.engine.types.planar_frame import SearchedImage

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
class Detection:
    """The followed face in one frame: its ``mesh``, None where none was found, and why it cannot be used.

    ``is_cut``: a new shot begins here. ``is_alike``: the face can be used, or the image looks as it did where it last
    could. ``thumbnail`` and ``halves``: of a face that can be used. ``unsteadiness``: where it was measured.
    """

    mesh: Mesh | None
    reject_reason: RejectReason
    is_cut: bool
    is_alike: bool
    thumbnail: FloatArray | None = None
    unsteadiness: float | None = None
    halves: FaceHalves | None = None


class Follower:
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

    def detect(self, image: SearchedImage) -> Detection:
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
            return Detection(None, RejectReason.NO_FACE, is_cut, self._looks_as_before(image))
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
            return Detection(mesh, reason, is_cut, self._looks_as_before(image), unsteadiness=checked)
        region = mesh.region
        self._seen = (region, _thumbnail(image, region))
        return Detection(mesh, reason, is_cut, True, self._seen[1], checked, measure_halves(image, mesh.points))

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
        return likeness(self._seen[1], _thumbnail(image, mesh.region)) >= LEAST_SAMENESS

    def _looks_as_before(self, image: SearchedImage) -> bool:
        """Whether the image still looks as it did where the last usable face was."""
        if self._seen is None:
            return False
        region, before = self._seen
        return likeness(before, _thumbnail(image, region)) >= LEAST_LIKENESS

    def _follow(self, image: SearchedImage, last: Mesh) -> Mesh | None:
        """Run the mesh net where the face was in the frame before; None when it is not there, or something else is."""
        before = last.region
        mesh = self._finder.mesh(image, before)
        now = mesh.region
        step = np.hypot(now.x - before.x, now.y - before.y) / before.side
        growth = max(now.side / before.side, before.side / max(now.side, 1e-6))
        is_same = mesh.presence >= LEAST_PRESENCE and step < LARGEST_STEP and growth < LARGEST_GROWTH
        return mesh if is_same else None

    def _search(self, image: SearchedImage) -> Mesh | None:
        is_after_cut = self._last is None and self._num_lost == 0 and self.first_faces is not None
        if is_after_cut and self._face is None and (mesh := self._find_large(image)) is not None:
            return mesh
        found = self._find(image, thoroughly=self._num_lost % TILES_EVERY == 0)
        return self._choose(found, image) if self._last is None else self._nearest(found, self._last)

    def _find(self, image: SearchedImage, *, thoroughly: bool) -> list[Mesh]:
        found = self._finder.find(image, thoroughly=thoroughly)
        self.num_faces = max(self.num_faces, len(found))
        if self.first_faces is None:
            self.first_faces = tuple(found)
        return found

    def _find_large(self, image: SearchedImage) -> Mesh | None:
        """The largest face that can be used, if it is found in the whole frame: tiles would only find smaller ones."""
        area = image_area(image)
        found = self._find(image, thoroughly=False)
        return next((mesh for mesh in found if _reason_in(image, mesh, area) is RejectReason.NONE), None)

    def _nearest(self, found: list[Mesh], before: Mesh) -> Mesh | None:
        """The face that is nearest to where it was, if it can have come there meanwhile."""
        last, reach = before.region, REACH + REACH_PER_FRAME * self._num_lost
        regions = [mesh.region for mesh in found]
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
