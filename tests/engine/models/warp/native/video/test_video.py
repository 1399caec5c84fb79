"""Frames of a video prepared and drawn in C: where mouths are, what is refused. test_whole_frames.py has the pixels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from fixtures.drawn_video import moving_avatar, talking_avatar
from fixtures.native_kernel import IS_REMAP_EXACT, native_kernel, numpy_alone
from musetalk_cli.engine.avatar.avatar import Avatar
from musetalk_cli.engine.avatar.visibility import Area
from musetalk_cli.engine.models.warp.face.displacement_fields import REACH
from musetalk_cli.engine.models.warp.face.mouth_warp import cell_px
from musetalk_cli.engine.models.warp.face.sampling import PAD, Grid
from musetalk_cli.engine.models.warp.mouth_places import MouthPlaces
from musetalk_cli.engine.models.warp.mouth_track import MouthTrack
from musetalk_cli.engine.models.warp.video_avatar import VideoAvatarRenderer
from musetalk_cli.engine.models.warp.video_faces import VideoFaces

OPEN = np.array([1.0, 0.9, 0.0, 0.0, 0.0, 0.0], np.float32)


@pytest.fixture(autouse=True)
def kernel() -> Iterator[None]:
    with native_kernel():
        yield


def places_of(avatar: Avatar, area: Area | None = None) -> tuple[MouthTrack, MouthPlaces]:
    track = MouthTrack(avatar.landmarks, 25.0)
    return track, MouthPlaces.of(track.axes, (avatar.width, avatar.height), area, cell_px(track.unit_px))


@pytest.mark.parametrize("area", [None, Area(31, 20, 270, 333)])
def test_mouths_are_placed_together_as_each_alone(area: Area | None) -> None:
    track, places = places_of(talking_avatar(12), area)
    for index in range(12):
        grid = Grid(places.region(index), places.cell_px)
        alone = MouthPlaces.on(grid, track.pose(index).axes)
        assert alone.boxes(0) == places.boxes(index)
        moved, lips, lips_px = places.boxes(index)
        rows, columns = grid.nodes.shape[:2]
        assert moved[0].stop <= rows and moved[1].stop <= columns
        assert lips[0].stop <= moved[0].stop - moved[0].start and lips[1].stop <= moved[1].stop - moved[1].start
        region = places.region(index)
        assert lips_px[0].stop <= region.height and lips_px[1].stop <= region.width
        assert all(number % 2 == 0 for number in (*region, *places.lips_px[index].tolist()))
        if area is not None:
            assert region.left >= area.left and region.left + region.width <= area.right
            assert region.top >= area.top and region.top + region.height <= area.bottom


@pytest.mark.parametrize("area", [None, Area(0, 149, 120, 150), Area(119, 0, 120, 150), Area(61, 71, 62, 72)])
def test_the_lips_are_within_what_moves_and_that_is_within_the_image(area: Area | None) -> None:
    """Whatever the cells are: those of a video are as large as its typical mouth needs."""
    random = np.random.default_rng(4)
    angles, units_px = random.uniform(0, 2 * np.pi, 500), 10 ** random.uniform(0, 2.5, 500)
    middles = random.uniform(-40, 190, (500, 2))
    axes = np.column_stack([middles, np.cos(angles), np.sin(angles), units_px])
    for cells_px in (2, 14, 60, 128):
        places = MouthPlaces.of(axes, (120, 150), area, cells_px)
        assert (places.regions[:, :2] >= 0).all() and (places.regions[:, 2:] >= 2).all()
        assert (places.regions[:, :2] + places.regions[:, 2:] <= [120, 150]).all()
        assert (places.lips[:, :2] >= 0).all() and (places.lips[:, 2:] >= 0).all()
        assert (places.lips[:, :2] + places.lips[:, 2:] <= places.moved[:, 2:]).all()
        needed = -(-places.lips_px[:, 2:] // cells_px) + 2 * PAD
        assert (needed <= places.lips[:, 2:])[places.lips_px[:, 2:] > 0].all()


def test_what_moves_and_the_lips_lie_within_their_boxes_at_any_tilt() -> None:
    angles = np.linspace(0, 2 * np.pi, 40)
    axes = np.column_stack([np.full((40, 2), 500.3), np.cos(angles), np.sin(angles), np.full(40, 97.0)])
    places = MouthPlaces.of(axes, (1000, 1000), None, 6)
    x_axes = 97 * np.exp(1j * angles)[:, None]
    for first, stop, reach, margin_px in (
        (places.regions[:, :2], places.regions[:, :2] + places.regions[:, 2:], REACH, 0),
        (*lips_in_image(places), (-0.6, 0.6, -0.25, 0.45), 6),
    ):
        left, right, top, bottom = reach
        corners = (
            500.3
            + 500.3j
            + x_axes * np.array([left + 1j * top, left + 1j * bottom, right + 1j * top, right + 1j * bottom])
        )
        lows = np.column_stack([corners.real.min(1), corners.imag.min(1)])
        highs = np.column_stack([corners.real.max(1), corners.imag.max(1)])
        assert (first <= lows).all() and (stop >= highs).all()
        assert (first > lows - 20 - margin_px).all() and (stop < highs + 20 + margin_px).all()


def lips_in_image(places: MouthPlaces) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The first pixels of the lips' boxes, and those behind the last, (n, 2) each; x before y."""
    first = places.regions[:, :2] + places.lips_px[:, 1::-1]
    return first, first + places.lips_px[:, 3:1:-1]


@pytest.mark.parametrize("height_px", [4, 6, 12, 16, 20, 24, 32, 64])
def test_small_heads_are_as_numpy_draws_them(height_px: int) -> None:
    avatar = talking_avatar(4).resized(height_px)
    faces = VideoAvatarRenderer(avatar)
    with numpy_alone():
        expected = VideoAvatarRenderer(avatar)
    for index, image in enumerate(avatar.frames.read(range(4))):
        own, other = (face.render(OPEN, index, image).planes for face in (faces, expected))
        away = np.abs(own.luma.astype(int) - other.luma)
        assert away.max() <= (2 if IS_REMAP_EXACT else 6) and away.mean() < 0.3, (index, away.max(), away.mean())


def native_faces(avatar: Avatar) -> VideoFaces:
    faces = VideoAvatarRenderer(avatar)._native
    assert faces is not None
    return faces


def test_a_frame_is_prepared_once_and_drawn_as_often_as_it_is_shown() -> None:
    avatar = talking_avatar(3)
    faces, image = native_faces(avatar), avatar.frames.read([1])[0]
    first, second = (faces.draw(OPEN, 1, image) for _ in range(2))
    assert np.array_equal(first.luma, second.luma) and np.array_equal(first.chroma, second.chroma)
    assert faces._prepare.cache_info().misses == 1


def test_what_is_not_of_the_frame_is_refused() -> None:
    avatar = moving_avatar([0.3] * 3)
    faces, image = native_faces(avatar), avatar.frames.read([1])[0]
    with pytest.raises(ValueError, match="is not within"):
        faces.draw(OPEN, 1, image[: image.shape[0] // 2])
    with pytest.raises(ValueError, match="contiguous uint8"):
        faces.draw(OPEN, 1, image[:, ::-1])
    with pytest.raises(ValueError, match="contiguous uint8"):
        faces._video.prepare(1, np.zeros((3, 3), np.uint8))


def test_tiny_frames_are_left_to_numpy() -> None:
    avatar = talking_avatar(3).resized(2)
    faces = native_faces(avatar)
    assert not faces.can_draw(1)
    made = VideoAvatarRenderer(avatar).render(OPEN, 1, avatar.frames.read([1])[0])
    assert made.planes is not None


@pytest.mark.skipif(not IS_REMAP_EXACT, reason="OpenCV's own sampling is a level or more away")
@pytest.mark.parametrize("shape", [(0.25, 0.2, 0, 0, 1, 0), (0.15, 0, 0, 0.5, 0, 0), (0.3, 0.3, -0.9, 0.3, 0.5, 0)])
def test_lips_of_an_open_mouth_that_press_or_touch_teeth(shape: tuple[float, ...]) -> None:
    avatar = moving_avatar([0.3] * 3).resized(400)
    image, mouth = avatar.frames.read([1])[0], np.array(shape, np.float32)
    own = VideoAvatarRenderer(avatar).render(mouth, 1, image).planes
    with numpy_alone():
        expected = VideoAvatarRenderer(avatar).render(mouth, 1, image).planes
    away = np.abs(own.luma.astype(int) - expected.luma)
    assert away.max() <= 2 and away.mean() < 0.05
