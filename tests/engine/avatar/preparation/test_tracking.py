"""A face is followed, lost and found again; with a made-up finder, whose images are nothing but their number."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import pytest

from fixtures.clips import moved_portrait
from fixtures.meshes import placed, turned
from musetalk_cli.engine.avatar.preparation.checks.plausibility import RejectReason
from musetalk_cli.engine.avatar.preparation.faces import FaceRegion, Mesh, region_of_points
from musetalk_cli.engine.avatar.preparation.following import TILES_EVERY
from musetalk_cli.engine.avatar.preparation.shots import Cut, CutDetector, jumps
from musetalk_cli.engine.avatar.preparation.tracking import FaceTrack, track_face
from musetalk_cli.engine.types.colour import bgr_to_planes, planes_to_i420
from musetalk_cli.engine.types.planar_frame import PlanarFrame
from musetalk_cli.errors import AvatarError

SIZE = (480, 640, 3)
Face = tuple[float, float, float]  # middle and width


class FakeFinder:
    """Finds the faces that ``scene`` has in frame n, as the two nets would."""

    def __init__(self, scene: Callable[[int], list[Face]], small: float = 0, yaw: Callable[[int], float] = lambda n: 0):
        self.scene, self.small, self.yaw = scene, small, yaw
        self.searches: list[tuple[int, bool]] = []

    def mesh(self, image: np.ndarray, region: FaceRegion) -> Mesh:
        for face in self._faces(image):
            is_inside = np.hypot(face[0] - region.x, face[1] - region.y) < region.side / 3
            if is_inside and 0.4 < 1.5 * face[2] / region.side < 2.5:
                return self._mesh(image, face)
        return Mesh(placed(region.x, region.y, region.side / 1.5), 0.01)

    def find(self, image: np.ndarray, *, thoroughly: bool = True) -> list[Mesh]:
        self.searches.append((number(image), thoroughly))
        seen = [face for face in self._faces(image) if thoroughly or face[2] >= self.small]
        return [self._mesh(image, face) for face in sorted(seen, key=lambda face: -face[2])]

    def measure_unsteadiness(self, image: np.ndarray, mesh: Mesh) -> float:
        return 0.005

    def _faces(self, image: np.ndarray) -> list[Face]:
        return self.scene(number(image))

    def _mesh(self, image: np.ndarray, face: Face) -> Mesh:
        return Mesh(turned(placed(*face), self.yaw(number(image))), 1.0)


def number(image: np.ndarray) -> int:
    return int(image[0, 0, 0])


def images(count: int, cuts: tuple[int, ...] = ()) -> Iterator[np.ndarray]:
    """Frames that carry their number; at a cut the scene behind changes."""
    scenes = np.random.default_rng(3).integers(0, 255, (len(cuts) + 1, *SIZE)) // 96 * 96
    shot = 0
    for index in range(count):
        shot += index in cuts
        image = np.repeat(np.repeat(scenes[shot, ::48, ::64], 48, axis=0), 64, axis=1).astype(np.uint8)
        image[0, 0, 0] = index
        yield image


def follow(
    scene: Callable[[int], list[Face]], count: int = 20, face: int | None = None, cuts: tuple[int, ...] = (), **options
) -> tuple[FaceTrack, FakeFinder]:
    finder = FakeFinder(scene, **options)
    return track_face(images(count, cuts), finder, face=face), finder


def middles(track: FaceTrack) -> np.ndarray:
    return np.array([[region_of_points(p).x, region_of_points(p).y] for p in track.points])


def test_a_moving_face_is_searched_once_and_then_followed() -> None:
    track, finder = follow(lambda n: [(200 + 9 * n, 240 + 2 * n, 120)])
    assert finder.searches == [(0, True)]
    assert track.is_found.all()
    assert track.found_share == 1
    assert middles(track)[:, 0] == pytest.approx(200 + 9 * np.arange(20), abs=0.1)
    assert track.gaps() == []
    assert list(np.flatnonzero(track.is_cut)) == [0]


def test_a_lost_face_is_counted_and_found_again() -> None:
    track, finder = follow(lambda n: [] if 5 <= n < 12 else [(300, 240, 120)])
    assert track.gaps() == [(5, 11, RejectReason.NO_FACE)]
    assert track.found_share == pytest.approx(13 / 20)
    assert np.isnan(track.points[5:12]).all()
    assert np.isnan(track.presence[5:12]).all()
    assert [n for n, _ in finder.searches] == [0, *range(5, 13)]


def test_tiles_are_searched_now_and_then_while_a_face_is_lost() -> None:
    _, finder = follow(lambda n: [], count=12)
    assert [n for n, thoroughly in finder.searches if thoroughly] == [0, TILES_EVERY, 2 * TILES_EVERY]


def test_a_small_face_is_found_when_the_tiles_are_searched() -> None:
    track, _ = follow(lambda n: [(300, 240, 40)] if n != 3 else [], small=60)
    assert track.gaps() == [(3, 7, RejectReason.NO_FACE)]


def test_the_largest_face_is_followed_and_not_left_for_another() -> None:
    def scene(n: int) -> list[Face]:
        own = [] if 6 <= n < 9 else [(150, 240, 120 - n)]
        return [*own, (480, 240, 100 + n)]

    track, _ = follow(scene)
    assert track.gaps() == [(6, 8, RejectReason.NO_FACE)]
    assert middles(track)[track.is_found, 0] == pytest.approx(150, abs=0.5)
    assert track.num_faces == 2


def test_a_face_that_comes_back_elsewhere_is_taken_after_a_while() -> None:
    track, _ = follow(lambda n: [(120, 240, 100)] if n < 5 else [(520, 240, 100)], count=60)
    (gap,) = track.gaps()
    assert gap[0] == 5
    assert 8 < gap[1] < 40
    assert middles(track)[-1, 0] == pytest.approx(520, abs=0.5)


def test_a_face_is_chosen_by_number_from_the_first_frame_that_has_as_many() -> None:
    track, _ = follow(lambda n: [(150, 240, 120), *([(450, 240, 90)] if n >= 2 else [])], face=2)
    assert track.gaps() == [(0, 1, RejectReason.NO_FACE)]
    assert middles(track)[2:, 0] == pytest.approx(450, abs=0.5)


def test_a_number_too_high_is_an_error_that_says_how_many_there_are() -> None:
    with pytest.raises(AvatarError, match="face 3 was asked for; at most 2 faces"):
        follow(lambda n: [(150, 240, 120), (450, 240, 90)], face=3)


def test_by_default_a_usable_face_goes_before_a_larger_one_that_is_not() -> None:
    track, _ = follow(lambda n: [(30, 240, 200), (400, 240, 120)])
    assert track.is_found.all()
    assert middles(track)[0, 0] == pytest.approx(400, abs=0.5)


def test_a_cut_begins_anew_with_the_largest_face() -> None:
    track, _ = follow(lambda n: [(150, 240, 120)] if n < 10 else [(200, 240, 60), (480, 200, 150)], cuts=(10,))
    assert list(np.flatnonzero(track.is_cut)) == [0, 10]
    assert track.is_found.all()
    assert middles(track)[10:, 0] == pytest.approx(480, abs=0.5)


def test_after_a_cut_tiles_are_searched_only_where_the_whole_frame_shows_no_usable_face() -> None:
    whole = follow(lambda n: [(200, 240, 120)] if n < 10 else [(480, 200, 150)], cuts=(10,))[1]
    assert whole.searches == [(0, True), (10, False)]
    tiny = follow(lambda n: [(200, 240, 120)] if n < 10 else [(480, 200, 90)], cuts=(10,), small=100)[1]
    assert tiny.searches == [(0, True), (10, False), (10, True)]
    turned_away = follow(lambda n: [(300, 240, 120)], cuts=(10,), yaw=lambda n: 50.0 if n == 10 else 10.0)[1]
    assert turned_away.searches[:3] == [(0, True), (10, False), (10, True)]


def test_a_profile_is_followed_but_not_used() -> None:
    track, finder = follow(lambda n: [(300, 240, 120)], yaw=lambda n: 50.0 if 5 <= n < 9 else 10.0)
    assert track.gaps() == [(5, 8, RejectReason.PROFILE)]
    # It is searched again when it can be used again: it may have been followed wrongly meanwhile.
    assert finder.searches == [(0, True), (9, True)]
    assert track.yaw_deg[6] == pytest.approx(50, abs=1)


def test_a_jump_to_another_take_is_a_cut() -> None:
    track, _ = follow(lambda n: [(300 if n < 8 else 318, 240, 120)])
    assert list(np.flatnonzero(track.is_cut)) == [0, 8]


def test_frames_are_not_kept() -> None:
    alive: list[weakref.ref[np.ndarray]] = []

    def stream() -> Iterator[np.ndarray]:
        for image in images(10):
            alive.append(weakref.ref(image))
            yield image
            assert sum(ref() is not None for ref in alive) <= 2
            del image

    assert len(track_face(stream(), FakeFinder(lambda n: [(300, 240, 120)])).points) == 10


def test_no_frames_make_an_empty_track() -> None:
    track = track_face(iter(()), FakeFinder(lambda n: []))
    assert track.points.shape == (0, 468, 2)
    assert track.found_share == 0


def test_cuts_are_told_from_flashes_and_motion() -> None:
    detector, frames = CutDetector(), list(images(8, cuts=(4,)))
    bright = np.clip(frames[2].astype(int) + 60, 0, 255).astype(np.uint8)
    moved = np.roll(frames[2], 3, axis=1)
    seen = [detector.judge(frame) is Cut.CERTAIN for frame in (*frames[:3], bright, moved, *frames[3:])]
    assert seen == [True, False, False, False, False, False, True, False, False, False]


def test_a_quick_turn_is_not_a_jump() -> None:
    x = np.array([0, 0, 0, 10, 30, 50, 60, 60, 60, 60.0])
    centres = np.stack([x, 0 * x], axis=1)
    assert not jumps(centres, np.full(10, 100.0)).any()
    centres[7:] += 40
    assert list(np.flatnonzero(jumps(centres, np.full(10, 100.0)))) == []
    far = np.stack([np.repeat([0.0, 60.0], 5), np.zeros(10)], axis=1)
    assert list(np.flatnonzero(jumps(far, np.full(10, 100.0)))) == [5]
    far[3] = np.nan
    assert list(np.flatnonzero(jumps(far, np.full(10, 100.0)))) == [5]


def test_a_face_does_not_come_back_upside_down() -> None:
    class Turning(FakeFinder):
        def _mesh(self, image: np.ndarray, face: Face) -> Mesh:
            mesh = super()._mesh(image, face)
            if 7 <= number(image) < 10:  # cut off, it is taken for one that stands on its head
                mesh.points[:, :2] = 2 * np.float32(face[:2]) - mesh.points[:, :2]
            return mesh

    finder = Turning(lambda n: [] if n == 6 else [(300, 240, 120)])
    track = track_face(images(20), finder)
    assert track.gaps() == [(6, 9, RejectReason.NO_FACE)]
    assert (track.points[10, 152] > track.points[10, 10]).tolist()[1]


def test_a_sudden_motion_is_not_a_cut_and_another_person_is() -> None:
    still = [moved_portrait(0, 128)] * 8
    pushed = cv2.warpAffine(still[0], np.float32([[1, 0, 4], [0, 1, 0]]), (128, 128), borderMode=cv2.BORDER_REPLICATE)
    detector = CutDetector()
    assert [detector.judge(image) for image in [*still, pushed]][-1] is Cut.LIKELY
    numbered = [numbered_copy(image, n) for n, image in enumerate([*still, pushed])]
    moving = FakeFinder(lambda n: [(68 if n == 8 else 64, 60, 50)])
    assert list(np.flatnonzero(track_face(numbered, moving).is_cut)) == [0]
    others = [numbered_copy(moved_portrait(0, 128, "theo"), n) for n in range(8, 16)]
    staying = FakeFinder(lambda n: [(64, 60, 50)])
    assert list(np.flatnonzero(track_face([*numbered[:8], *others], staying).is_cut)) == [0, 8]


def numbered_copy(image: np.ndarray, index: int) -> np.ndarray:
    image = image.copy()
    image[0, 0, 0] = index
    return image


def test_cuts_show_in_planar_frames_as_in_their_images() -> None:
    rng = np.random.default_rng(3)
    scenes = [cv2.resize(rng.integers(0, 255, (6, 8, 3), np.uint8), (640, 480)) for _ in range(2)]
    images = [np.roll(scenes[n // 10], 3 * n, axis=1) for n in range(20)]
    of_images, of_planar = CutDetector(), CutDetector()
    planar = [PlanarFrame(planes_to_i420(bgr_to_planes(image))) for image in images]
    found = [of_planar.judge(image) for image in planar]
    assert found == [of_images.judge(image) for image in images]
    assert [n for n, cut in enumerate(found) if cut is not Cut.NONE] == [0, 10]
    assert not any("bgr" in vars(image) for image in planar)


def test_the_faces_of_the_first_frame_are_kept() -> None:
    track, _ = follow(lambda n: [(150, 150, 90), (400, 300, 120)] if n == 0 else [(400, 300, 120)], 3)
    assert [round(float(mesh.points[:, 0].mean())) for mesh in track.first_faces] == [401, 150]
