"""The two nets on images made of the drawn portraits, moved, turned and scaled; and what needs no net at all."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from fixtures.meshes import RATE, portrait_mesh
from musetalk_cli.engine.avatar.landmarks import FloatArray
from musetalk_cli.engine.avatar.mesh import LIDS, LIPS, OVAL
from musetalk_cli.engine.avatar.portrait import describe_portrait, load_portrait
from musetalk_cli.engine.avatar.preparation.checks.plausibility import RejectReason, eyes_px, reject_reason_of
from musetalk_cli.engine.avatar.preparation.detection import FaceBox
from musetalk_cli.engine.avatar.preparation.face_models import FaceModels
from musetalk_cli.engine.avatar.preparation.faces import (
    FaceFinder,
    FaceRegion,
    _crop_to_image,
    _cut_out,
    region_of_box,
)
from musetalk_cli.engine.avatar.preparation.smoothing import smooth_track
from musetalk_cli.engine.avatar.preparation.tracking import track_face
from musetalk_cli.engine.avatar.visibility import Area
from musetalk_cli.engine.types.colour import ByteArray, bgr_to_planes, planes_to_i420
from musetalk_cli.engine.types.planar_frame import PlanarFrame
from musetalk_cli.errors import AvatarError

FACE_BOX = 390  # how wide the detector draws the portraits' faces, in their 1024 pixels


@cache
def portrait(name: str = "nora") -> ByteArray:
    return load_portrait(describe_portrait(name)).image


@cache
def _scenery(width: int, height: int) -> ByteArray:
    rng = np.random.default_rng(5)
    blotches = cv2.resize(rng.normal(110, 40, (height // 20 + 1, width // 20 + 1, 3)), (width, height))
    grain = rng.integers(-6, 6, (height, width, 1))
    return np.clip(blotches + grain, 0, 255).astype(np.uint8)


def scenery(width: int, height: int) -> ByteArray:
    """Soft blotches and grain: something to search in, with no face in it."""
    return _scenery(width, height).copy()


@pytest.fixture(scope="module")
def upright(finder: FaceFinder) -> FloatArray:
    """The points that are found in the portrait itself."""
    (mesh,) = finder.find(portrait())
    return mesh.points


def paste(scene: ByteArray, x: float, y: float, face_px: float, name: str = "nora", turn_deg: float = 0) -> np.ndarray:
    """Put a portrait's head into a scene, its face so wide and around x, y; returns the 2 × 3 map from the portrait."""
    scale, angle = face_px / FACE_BOX, np.radians(turn_deg)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    to_scene = np.column_stack([turn, np.array([x, y]) - turn @ (512, 512)])
    # Shrunk by area first, as a camera would.
    small = cv2.resize(portrait(name), None, fx=min(scale, 1), fy=min(scale, 1), interpolation=cv2.INTER_AREA)
    ratio = 1024 / small.shape[0]
    from_small = to_scene @ np.array([[ratio, 0, (ratio - 1) / 2], [0, ratio, (ratio - 1) / 2], [0, 0, 1]])
    head = np.zeros(small.shape[:2], np.float32)
    middle, axes = (round(512 / ratio), round(490 / ratio)), (round(300 / ratio), round(400 / ratio))
    cv2.ellipse(head, middle, axes, 0, 0, 360, 1, -1)
    size = scene.shape[1::-1]
    alpha = cv2.warpAffine(head, from_small, size, flags=cv2.INTER_LINEAR)[..., None]
    moved = cv2.warpAffine(small, from_small, size, flags=cv2.INTER_CUBIC)
    scene[:] = np.round(alpha * moved + (1 - alpha) * scene).astype(np.uint8)
    return to_scene


def error(points: FloatArray, expected: FloatArray, indices: tuple[int, ...]) -> float:
    """Mean distance in distances between the eyes."""
    chosen = list(indices)
    return float(np.linalg.norm(points[chosen, :2] - expected[chosen, :2], axis=1).mean() / eyes_px(expected))


def moved(points: FloatArray, to_scene: np.ndarray) -> FloatArray:
    return (points[:, :2] @ to_scene[:, :2].T + to_scene[:, 2]).astype(np.float32)


@pytest.mark.parametrize("name", ["nora", "theo"])
def test_a_portraits_points_are_where_they_were_drawn(finder: FaceFinder, name: str) -> None:
    (mesh,) = finder.find(portrait(name))
    drawn = portrait_mesh(name)
    assert mesh.presence > 0.95
    assert error(mesh.points, drawn, LIPS) < 0.03
    assert error(mesh.points, drawn, LIDS) < 0.04
    assert error(mesh.points, drawn, OVAL) < 0.09
    assert reject_reason_of(mesh.points, mesh.presence, Area.whole(1024, 1024)) is RejectReason.NONE


@pytest.mark.parametrize("turn_deg", [20, -45, 70, 180])
def test_a_turned_face_has_the_same_points_turned(finder: FaceFinder, upright: FloatArray, turn_deg: float) -> None:
    scene = scenery(1000, 1000)
    to_scene = paste(scene, 520, 480, 360, turn_deg=turn_deg)
    (mesh,) = finder.find(scene)
    assert error(mesh.points, moved(upright, to_scene), tuple(range(468))) < 0.012


@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (720, 1280)])
@pytest.mark.parametrize("share", [0.05, 0.07])
def test_small_faces_are_found(finder: FaceFinder, upright: FloatArray, width: int, height: int, share: float) -> None:
    scene = scenery(width, height)
    to_scene = paste(scene, 0.7 * width, 0.4 * height, share * width)
    (mesh,) = finder.find(scene)
    assert error(mesh.points, moved(upright, to_scene), LIPS) < 0.05


def test_two_faces_come_largest_first(finder: FaceFinder) -> None:
    scene = scenery(1280, 720)
    paste(scene, 900, 360, 300)
    paste(scene, 300, 300, 120, name="theo")
    large, small = finder.find(scene)
    assert large.points[1] == pytest.approx((900, 380, large.points[1, 2]), abs=60)
    assert small.points[1] == pytest.approx((300, 310, small.points[1, 2]), abs=30)


@pytest.mark.parametrize(
    "image", [np.zeros((720, 1280, 3), np.uint8), scenery(640, 480), np.zeros((1, 1, 3), np.uint8)]
)
def test_where_there_is_no_face_none_is_found(finder: FaceFinder, image: ByteArray) -> None:
    assert finder.find(image) == []


@pytest.mark.parametrize("edge", [slice(0, 640), slice(0, 600)])
def test_a_face_without_a_chin_is_cut_off(finder: FaceFinder, edge: slice) -> None:
    (mesh,) = finder.find(portrait()[edge].copy())
    assert reject_reason_of(mesh.points, mesh.presence, Area.whole(1024, edge.stop)) is RejectReason.CUT_OFF


def test_a_huge_image_has_the_same_points(finder: FaceFinder, upright: FloatArray) -> None:
    (huge,) = finder.find(cv2.resize(portrait(), None, fx=5, fy=5, interpolation=cv2.INTER_LINEAR))
    assert error((huge.points - 2) / 5, upright, tuple(range(468))) < 0.01


def film(num_frames: int) -> Iterator[tuple[ByteArray, np.ndarray]]:
    """A face that sways; for a while it is gone, and then a second shot begins. With each frame its map, or NaN."""
    scene, other = scenery(640, 480), scenery(640, 480)[::-1, ::-1].copy()
    other[:, 320:] //= 3
    for n in range(num_frames):
        frame = (scene if n < 24 else other).copy()
        place = (250 + 40 * np.sin(n / 5), 240 + 10 * np.cos(n / 3)) if n < 24 else (430, 200)
        if 12 <= n < 16:
            yield frame, np.full((2, 3), np.nan)
        else:
            yield frame, paste(frame, *place, 150, turn_deg=6 * np.sin(n / 8))


def test_a_face_is_followed_through_a_film(finder: FaceFinder, upright: FloatArray) -> None:
    maps: list[np.ndarray] = []

    def frames() -> Iterator[ByteArray]:
        for frame, to_scene in film(32):
            maps.append(to_scene)
            yield frame

    track = track_face(frames(), finder)
    assert track.gaps() == [(12, 15, RejectReason.NO_FACE)]
    assert list(np.flatnonzero(track.is_cut)) == [0, 24]
    calm = smooth_track(track, RATE)
    for n in np.flatnonzero(track.is_found):
        expected = moved(upright, maps[n])
        assert error(track.points[n], expected, LIPS) < 0.025
        assert error(calm.points[n], expected, LIPS) < 0.025
    assert np.isfinite(calm.points).all()


def test_a_file_that_is_no_net_is_an_error(tmp_path: Path) -> None:
    for name in ("detector", "mesh"):
        (tmp_path / name).write_text("not a net")
    with pytest.raises(AvatarError, match="cannot be read as a network"):
        FaceFinder(FaceModels(tmp_path / "detector", tmp_path / "mesh"))


def test_another_net_is_an_error(face_models: FaceModels) -> None:
    with pytest.raises(AvatarError, match="is not the expected network"):
        FaceFinder(FaceModels(face_models.mesh, face_models.detector))


@pytest.mark.parametrize("side", [70.0, 192.0, 500.0, 1400.0])
@pytest.mark.parametrize("angle", [0.0, 0.6, np.pi])
def test_a_crops_pixels_are_where_its_map_says(side: float, angle: float) -> None:
    """On an image whose levels are its coordinates, a crop shows the coordinates that it is taken to have.

    One channel rises and one falls, since rounding lifts both.
    """
    coordinates = np.stack(np.meshgrid(np.arange(1500), np.arange(1000)), axis=2)
    to_image = _crop_to_image(FaceRegion(760, 480, side, angle), 192)
    at = np.stack(np.meshgrid(np.arange(192), np.arange(192)), axis=2) @ to_image[:, :2].T + to_image[:, 2]
    inside = ((at > 20) & (at < (1480, 980))).all(axis=2)
    assert inside.mean() > 0.4
    dither = np.random.default_rng(0).random((1000, 1500, 2))
    for axis in (0, 1):
        rising = coordinates[..., axis] / 6
        ramps = np.floor(np.stack([rising, 250 - rising], axis=2) + dither).astype(np.uint8)
        crop = _cut_out(np.dstack([ramps, ramps[..., :1]]), to_image, 192).astype(np.float64)
        shown = 3 * (crop[..., 0] - crop[..., 1] + 250)
        assert np.mean(shown[inside] - at[inside, axis]) == pytest.approx(0, abs=0.1 + 0.05 * side / 192)


def test_a_region_is_turned_so_that_the_eyes_are_level() -> None:
    eyes = np.float32([[100, 100], [130, 130], [0, 0], [0, 0], [0, 0], [0, 0]])
    region = region_of_box(FaceBox(0.9, (80, 90, 60, 60), eyes))
    assert (region.x, region.y, region.side) == (110, 120, 90)
    assert region.angle == pytest.approx(np.pi / 4)


@pytest.mark.parametrize("side", [150.0, 330.0, 500.0, 900.0])
def test_a_planar_frame_gives_the_same_crop(side: float) -> None:
    planar = PlanarFrame(planes_to_i420(bgr_to_planes(portrait())))
    to_image = _crop_to_image(FaceRegion(500, 520, side, 0.2), 192)
    away = np.abs(_cut_out(planar, to_image, 192).astype(int) - _cut_out(planar.bgr, to_image, 192))
    assert "bgr" in vars(planar) and away.mean() < 0.6 and away.max() <= 24


def test_a_planar_frame_shows_the_same_face(finder: FaceFinder) -> None:
    planar = PlanarFrame(planes_to_i420(bgr_to_planes(portrait())))
    (mesh,), (same,) = finder.find(planar), finder.find(planar.bgr)
    away = np.linalg.norm(mesh.points[:, :2] - same.points[:, :2], axis=1) / eyes_px(same.points)
    assert away.max() < 0.01
