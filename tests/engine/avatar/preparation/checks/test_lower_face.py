"""A hand, a sleeve or a microphone that comes before a mouth for a while is noticed; talking and moving are not."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import cache

import cv2
import numpy as np
import pytest

from fixtures.meshes import portrait_mesh
from musetalk_cli.engine.avatar.portrait import describe_portrait, open_portrait
from musetalk_cli.engine.avatar.preparation.checks.lower_face import LEAST_FRAMES, covered_frames, measure_halves
from musetalk_cli.engine.avatar.preparation.checks.plausibility import RejectReason
from musetalk_cli.engine.avatar.preparation.faces import FaceRegion, Mesh
from musetalk_cli.engine.avatar.preparation.prepare import visibility_of
from musetalk_cli.engine.avatar.preparation.tracking import track_face
from musetalk_cli.engine.models.warp.idle.idle_motion import life_at
from musetalk_cli.engine.models.warp.still_avatar import StillAvatarRenderer
from musetalk_cli.engine.types.colour import ByteArray, bgr_to_planes, i420_to_bgr, planes_to_i420
from musetalk_cli.engine.types.planar_frame import PlanarFrame
from musetalk_cli.engine.video.compositing import write_face

SIDE, COUNT = 256, 60
COVERED = range(25, 45)
NUM_COMING = 6  # frames in which the hand comes, and in which it goes
SKIN, CLOTH = (150, 178, 214), (44, 36, 32)


@cache
def talking(name: str) -> tuple[ByteArray, ...]:
    """A portrait that talks and sways."""
    avatar = open_portrait(describe_portrait(name))
    face = StillAvatarRenderer(avatar, height_px=SIDE, has_idle_motion=True)
    still = avatar.resized(SIDE).frames.read([0])[0]
    frames = []
    for index in range(COUNT):
        image, level = still.copy(), (index * 7 % 10) / 9
        write_face(
            image,
            face.render(np.array([level, level, 0.8 * np.sin(index), 0, 0, 0], np.float32), life_at(2, index / 25)),
        )
        frames.append(i420_to_bgr(image))
    return tuple(frames)


def mesh_of(name: str) -> np.ndarray:
    return portrait_mesh(name) * np.float32(SIDE / describe_portrait(name).height)


def with_hand(image: ByteArray, name: str, colour: tuple[int, int, int], away: float) -> ByteArray:
    """Four fingers, shaded at their sides, from cheek to cheek over the mouth, or ``away`` mouth widths below."""
    face, covered = describe_portrait(name).landmarks, image.copy()
    scale = SIDE / describe_portrait(name).height
    middle = (face.outer_upper_lip[0] + face.outer_upper_lip[-1]) / 2 * scale
    unit = float(np.linalg.norm(face.outer_upper_lip[-1] - face.outer_upper_lip[0])) * scale
    for place in range(4):
        ends = [
            middle + np.array([x + away, y + 0.3 * place - 0.35 + away]) * unit
            for x, y in ((-0.75, 0.15), (1.2, -0.25))
        ]
        for thickness, light in ((0.32, 0.75), (0.2, 0.95)):
            shade = tuple(light * level for level in colour)
            first, last = (tuple(int(value) for value in end) for end in ends)
            cv2.line(covered, first, last, shade, round(thickness * unit), cv2.LINE_AA)
    return covered


def clip(name: str, colour: tuple[int, int, int] | None) -> list[ByteArray]:
    """The portrait that talks, and a hand of that colour that comes from below, stays and goes."""
    frames = list(talking(name))
    for index in range(COVERED.start - NUM_COMING, COVERED.stop + NUM_COMING) if colour else ():
        num_away = max(COVERED.start - index, index - COVERED.stop + 1, 0)
        frames[index] = with_hand(frames[index], name, colour or SKIN, 2.5 * num_away / NUM_COMING)
    return frames


class PortraitFinder:
    """Finds the portrait's face in every frame, also behind a hand, as the nets do."""

    def __init__(self, name: str) -> None:
        self._mesh = Mesh(mesh_of(name), 1.0, 0.005)

    def mesh(self, image: ByteArray, region: FaceRegion) -> Mesh:
        return self._mesh

    def find(self, image: ByteArray, *, thoroughly: bool = True) -> list[Mesh]:
        return [self._mesh]

    def measure_unsteadiness(self, image: ByteArray, mesh: Mesh) -> float:
        return 0.005


@pytest.mark.parametrize("name", ["nora", "theo"])
@pytest.mark.parametrize("colour", [SKIN, CLOTH])
def test_a_mouth_behind_a_hand_is_left_alone_with_fades(name: str, colour: tuple[int, int, int]) -> None:
    track = track_face(clip(name, colour), PortraitFinder(name))
    visibility = visibility_of(track, (SIDE, SIDE), Fraction(25))
    behind = slice(COVERED.start, COVERED.stop)
    assert set(track.reject_reason[behind]) == {RejectReason.COVERED}
    assert not visibility.opacity[behind].any()
    assert (visibility.opacity[: COVERED.start - 10] == 1).all()
    assert (visibility.opacity[COVERED.stop + 10 :] == 1).all()
    assert np.abs(np.diff(visibility.opacity)).max() < 0.5


@pytest.mark.parametrize("name", ["nora", "theo"])
def test_a_mouth_that_talks_is_not_covered(name: str) -> None:
    track = track_face(clip(name, None), PortraitFinder(name))
    assert track.is_found.all()


def test_dimmed_light_is_not_a_hand() -> None:
    faces = [
        measure_halves((image * light).astype(np.uint8), mesh_of("nora"))
        for image, light in zip(talking("nora"), np.linspace(1, 0.5, COUNT), strict=True)
    ]
    assert not covered_frames(faces, np.arange(COUNT) == 0).any()


def test_turned_heads_short_shots_and_lost_faces_are_not_judged() -> None:
    faces = [measure_halves(image, mesh_of("nora")) for image in clip("nora", SKIN)]
    start = np.arange(COUNT) == 0
    turned = [replace(face, yaw_deg=20.0 if index in COVERED else 0.0) for index, face in enumerate(faces)]
    assert covered_frames(faces, start)[COVERED.start : COVERED.stop].all()
    assert not covered_frames(turned, start)[COVERED.start + 4 : COVERED.stop - 4].any()
    few = faces[COVERED.start - LEAST_FRAMES + 3 : COVERED.start + 2]
    assert not covered_frames(few, start[: len(few)]).any()
    assert not covered_frames([None] * COUNT, start).any()


def test_another_person_in_the_same_place_is_not_covered() -> None:
    people = [measure_halves(image, mesh_of("nora")) for image in clip("nora", None)[:40]]
    people += [measure_halves(image, mesh_of("theo")) for image in clip("theo", None)[:15]]
    assert not covered_frames(people, np.isin(np.arange(55), (0, 40))).any()


def test_a_planar_frame_has_the_halves_of_its_image() -> None:
    image, mesh = talking("nora")[0], mesh_of("nora")
    planar = PlanarFrame(planes_to_i420(bgr_to_planes(image)))
    ours, other = measure_halves(planar, mesh), measure_halves(planar.bgr, mesh)
    assert np.abs(ours.lower - other.lower).mean() < 0.02
    assert np.abs(ours.eyes - other.eyes).mean() < 2
