"""A warped video: its own mouth is replaced, the new one follows the head, and all other pixels stay equal."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from fixtures.drawn_video import gap_at, moving_avatar, talking_avatar
from fixtures.native_kernel import native_kernel, numpy_alone
from musetalk_cli.engine.avatar.avatar import Avatar
from musetalk_cli.engine.avatar.landmarks import Landmarks
from musetalk_cli.engine.avatar.mesh import landmarks_of
from musetalk_cli.engine.avatar.visibility import Area, Visibility
from musetalk_cli.engine.models.warp import video_avatar, video_faces
from musetalk_cli.engine.models.warp.face.control_points import lip_points, shared_points
from musetalk_cli.engine.models.warp.face.geometry import transform_points
from musetalk_cli.engine.models.warp.face.lip_contours import LipClosure
from musetalk_cli.engine.models.warp.face.mouth_pose import MouthPose
from musetalk_cli.engine.models.warp.mouth_track import MouthTrack
from musetalk_cli.engine.models.warp.video_avatar import VideoAvatarRenderer
from musetalk_cli.engine.video.compositing import write_face

REST = np.zeros(6, dtype=np.float32)
OPEN = np.array([1.0, 0.9, 0.0, 0.0, 0.0, 0.0], dtype=np.float32)
TEETH = 200  # luma above which a pixel is of the drawn face's own bright mouth


def shown(avatar: Avatar, face: VideoAvatarRenderer, index: int, mouth: NDArray[np.float32]) -> NDArray[np.uint8]:
    image = avatar.frames.read([index])[0].copy()
    before = image.copy()
    made = face.render(mouth, index, image)
    assert np.array_equal(image, before), "the model wrote into the avatar's image"
    write_face(image, made)
    return image[: avatar.height]


def between_lips(avatar: Avatar, index: int, luma: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Luma down the mouth's middle, from nose to chin, along the axes of the frame's own pose."""
    pose = MouthPose.of_still(avatar.landmarks[index])
    line = np.column_stack([np.zeros(90), np.linspace(-0.2, 0.45, 90)]).astype(np.float32)
    x, y = transform_points(pose.axes.to_image, line).round().astype(int).T
    return luma[y, x]


def test_silence_closes_a_mouth_that_talks() -> None:
    avatar = talking_avatar()
    face = VideoAvatarRenderer(avatar)
    for index in range(avatar.frames.num_frames):
        own = between_lips(avatar, index, avatar.frames.read([index])[0][: avatar.height])
        if gap_at(index) > 0.05:
            assert own.max() > TEETH, "the drawn mouth should be open here"
        assert between_lips(avatar, index, shown(avatar, face, index, REST)).max() < TEETH, index


def test_the_gap_does_not_depend_on_the_videos_own_mouth() -> None:
    avatars = talking_avatar(), talking_avatar(is_talking=False)
    dark = []
    for avatar in avatars:
        face = VideoAvatarRenderer(avatar)
        lines = [between_lips(avatar, index, shown(avatar, face, index, OPEN)) for index in range(30)]
        dark.append(np.array([(line < 70).sum() for line in lines]))
    assert dark[1].min() >= 10
    assert np.abs(dark[0] - dark[1]).max() <= 4


def test_outside_its_region_a_frame_is_the_stored_one_bit_for_bit() -> None:
    avatar = talking_avatar(12)
    face = VideoAvatarRenderer(avatar)
    for index in range(12):
        stored = avatar.frames.read([index])[0]
        made = stored.copy()
        region = face.render(OPEN, index, stored).region
        write_face(made, face.render(OPEN, index, stored))
        assert all(value % 2 == 0 for value in region)
        luma, chroma = (
            np.zeros((avatar.height, avatar.width), bool),
            np.zeros((avatar.height // 2, avatar.width // 2), bool),
        )
        left, top, width, height = region
        luma[top : top + height, left : left + width] = True
        chroma[top // 2 : (top + height) // 2, left // 2 : (left + width) // 2] = True
        inside = np.concatenate([luma.ravel(), chroma.ravel(), chroma.ravel()]).reshape(stored.shape)
        assert np.array_equal(made[~inside], stored[~inside])
        assert not np.array_equal(made[inside], stored[inside])


def test_motion_has_faded_out_where_the_region_ends() -> None:
    avatar = talking_avatar(12)
    face = VideoAvatarRenderer(avatar)
    for index in range(12):
        stored = avatar.frames.read([index])[0]
        made = face.render(OPEN, index, stored)
        left, top, width, height = made.region
        own = stored[top : top + height, left : left + width]
        rim = np.zeros(own.shape, dtype=bool)
        rim[0] = True
        if left > 0:
            rim[:, 0] = True
        if left + width < avatar.width:
            rim[:, -1] = True
        assert np.array_equal(made.planes.luma[rim], own[rim])


def test_a_motionless_head_gives_equal_frames() -> None:
    """Landmark noise of a twentieth of a pixel must not be visible."""
    random = np.random.default_rng(5)
    avatar = talking_avatar(20, is_talking=False, has_motion=False)
    noisy = [
        Landmarks(
            **{
                name: points + random.normal(0, 0.05, points.shape).astype(np.float32)
                for name, points in vars(face).items()
            }
        )
        for face in avatar.landmarks
    ]
    for mouth in (REST, OPEN):
        face = VideoAvatarRenderer(replace(avatar, landmarks=tuple(noisy)))
        frames = np.stack([shown(avatar, face, index, mouth) for index in range(20)]).astype(int)
        assert np.abs(np.diff(frames, axis=0)).mean() < 0.05
        assert np.percentile(np.abs(np.diff(frames, axis=0)), 99.5) <= 6


def test_every_frame_depends_on_itself_alone() -> None:
    avatar = talking_avatar(12)
    forward, backward = VideoAvatarRenderer(avatar), VideoAvatarRenderer(avatar)
    there = [shown(avatar, forward, index, OPEN) for index in range(12)]
    back = [shown(avatar, backward, index, OPEN) for index in reversed(range(12))][::-1]
    assert np.array_equal(there, back)


@pytest.mark.parametrize("kernel, most, num_kept", [(numpy_alone, 600_000, 32), (native_kernel, 60_000, 256)])
def test_a_prepared_frame_takes_little_memory_in_c(
    kernel: Callable[[], AbstractContextManager[None]], most: int, num_kept: int
) -> None:
    avatar = talking_avatar(4)
    with kernel():
        face = VideoAvatarRenderer(avatar)
        images = avatar.frames.read(range(4))
        face.render(OPEN, 0, images[0])
        tracemalloc.start()
        try:
            for index in range(1, 4):
                face.render(OPEN, index, images[index])
            bytes_each = tracemalloc.get_traced_memory()[0] / 3
        finally:
            tracemalloc.stop()
    assert 10_000 < bytes_each < most
    assert num_kept in (video_avatar.CACHE_SIZE, video_faces.CACHE_SIZE)


@pytest.mark.parametrize("height_px", [160, 240, 480])
def test_other_sizes(height_px: int) -> None:
    avatar = talking_avatar(5).resized(height_px)
    face = VideoAvatarRenderer(avatar)
    difference = np.abs(shown(avatar, face, 2, OPEN).astype(int) - avatar.frames.read([2])[0][:height_px])
    assert difference.max() > 40


def test_a_new_shot_does_not_depend_on_the_one_before() -> None:
    first, second = talking_avatar(20), talking_avatar(20, is_talking=False, has_motion=False)
    away = [
        Landmarks(**{name: points + np.float32(90) for name, points in vars(face).items()}) for face in second.landmarks
    ]
    alone, together = MouthTrack(away, 25.0), MouthTrack([*first.landmarks, *away], 25.0)
    for index in (0, 7, 19):
        expected, found = alone.pose(index), together.pose(20 + index)
        assert np.allclose(found.rest.oval, expected.rest.oval, atol=0.05)
        assert np.allclose(found.axes.origin_px, expected.axes.origin_px, atol=0.05)


def test_the_axes_follow_the_head_and_not_the_mouth() -> None:
    avatar = talking_avatar(40)
    track = MouthTrack(avatar.landmarks, 25.0)
    silent = MouthTrack(talking_avatar(40, is_talking=False).landmarks, 25.0)
    for index in range(40):
        ours, wanted = track.pose(index).axes, silent.pose(index).axes
        assert np.hypot(*(ours.origin_px - wanted.origin_px)) < 0.02 * wanted.unit_px
        assert ours.unit_px == pytest.approx(wanted.unit_px, rel=0.01)
        assert float(ours.x_axis @ wanted.x_axis) > 0.9999


def test_the_splines_stay_below_the_size_from_which_solvers_start_threads() -> None:
    pose = MouthTrack(talking_avatar(3).landmarks, 25.0).pose(1)
    lip_closure = LipClosure.of(pose.face, pose.rest, pose.axes)
    shared = len(shared_points(pose, lip_closure).position)
    for is_lower in (False, True):
        assert shared + len(lip_points(pose, lip_closure, is_lower=is_lower).position) + 3 < 100


def test_the_mesh_gives_the_same_poses_as_the_landmarks_taken_from_it() -> None:
    mesh = np.random.default_rng(2).uniform(0, 300, (12, 468, 2)).astype(np.float32)
    faces = [landmarks_of(points) for points in mesh]
    slow, quick = MouthTrack(faces, 25.0), MouthTrack(faces, 25.0, mesh)
    for index in range(12):
        for name, points in vars(slow.pose(index).rest).items():
            assert np.array_equal(points, getattr(quick.pose(index).rest, name)), name


def partly_seen(opacity: list[float], area: Area | None = None) -> Avatar:
    avatar = talking_avatar(len(opacity))
    is_cut = np.arange(len(opacity)) == 0
    whole = Area.whole(avatar.width, avatar.height)
    return replace(avatar, visibility=Visibility(np.array(opacity, np.float32), is_cut, area or whole))


def test_frames_without_a_face_stay_as_they_are_bit_for_bit() -> None:
    avatar = partly_seen([1, 0, 0, 0.5, 1])
    face = VideoAvatarRenderer(avatar)
    changes = []
    for index in range(5):
        stored = avatar.frames.read([index])[0]
        made = stored.copy()
        write_face(made, face.render(OPEN, index, stored))
        changes.append(int(np.abs(made.astype(int) - stored).sum()))
    assert changes[1] == changes[2] == 0
    assert 0.3 * changes[4] < changes[3] < 0.8 * changes[4]


@pytest.mark.parametrize("is_native", [True, False])
@pytest.mark.parametrize("step_px", [(60, 0), (-80, 0), (0, 60), (0, -90)])
def test_a_mouth_may_leave_the_image(step_px: tuple[int, int], is_native: bool) -> None:
    whole = talking_avatar(6)
    faces = [
        Landmarks.from_mapping({name: group + np.float32(step_px) * index for name, group in vars(face).items()})
        for index, face in enumerate(whole.landmarks)
    ]
    avatar = replace(whole, landmarks=faces, points=None)
    with native_kernel() if is_native else numpy_alone():
        face = VideoAvatarRenderer(avatar)
        changed = [
            (shown(avatar, face, index, OPEN) != avatar.frames.read([index])[0][: avatar.height]).any()
            for index in range(6)
        ]
    assert changed[0]
    assert not changed[-1]


def test_bars_stay_as_they_are_bit_for_bit() -> None:
    whole = talking_avatar(3)
    bottom = int(whole.landmarks[0].oval[18, 1]) - 10
    avatar = partly_seen([1, 1, 1], Area(0, 0, whole.width, bottom))
    face, other = VideoAvatarRenderer(avatar), VideoAvatarRenderer(whole)
    stored = avatar.frames.read([1])[0]
    made, unlimited = stored.copy(), stored.copy()
    write_face(made, face.render(OPEN, 1, stored))
    write_face(unlimited, other.render(OPEN, 1, stored))
    rows = slice(bottom // 2 * 2, avatar.height)
    assert np.array_equal(made[rows], stored[rows])
    assert not np.array_equal(unlimited[rows], stored[rows])
    assert not np.array_equal(made[: rows.start], stored[: rows.start])


def around_mouth(avatar: Avatar, index: int, luma: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Luma on a grid over the mouth and its corners, along the axes of the frame's own pose."""
    axes = MouthPose.of_still(avatar.landmarks[index]).axes
    x, y = np.meshgrid(np.linspace(-0.6, 0.6, 90), np.linspace(-0.3, 0.8, 90))
    columns, rows = transform_points(axes.to_image, np.dstack([x, y]).astype(np.float32)).round().astype(int).T
    return luma[rows, columns]


@pytest.mark.parametrize("gap", [0.2, 0.35, 0.5])
def test_silence_closes_a_mouth_that_never_closes_by_itself(gap: float) -> None:
    avatar = moving_avatar([gap] * 3)
    seen = around_mouth(avatar, 1, shown(avatar, VideoAvatarRenderer(avatar), 1, REST))
    assert around_mouth(avatar, 1, avatar.frames.read([1])[0][: avatar.height]).max() > TEETH
    assert seen.max() < TEETH
    assert seen.min() > 60, "nothing of the inside of the mouth is left in the corners"


def test_a_mouth_open_for_long_closes_as_it_does_elsewhere_in_the_shot() -> None:
    closed_first = MouthTrack(moving_avatar([0.0] * 25 + [0.4] * 50, has_motion=False).landmarks, 25.0)
    pose = closed_first.pose(70)
    assert LipClosure.of(pose.face, pose.rest, pose.axes).rest.own_gap < 0.05
    assert LipClosure.of(pose.face, pose.rest, pose.axes).own.own_gap > 0.3


def test_a_mouth_open_too_far_to_close_believably_is_left_alone() -> None:
    avatar = moving_avatar([0.1] * 15 + [1.2] * 20 + [0.1] * 15)
    face = VideoAvatarRenderer(avatar)
    changes = []
    for index in range(50):
        stored = avatar.frames.read([index])[0]
        made = stored.copy()
        write_face(made, face.render(REST, index, stored))
        changes.append(not np.array_equal(made, stored))
    assert not any(changes[15:35])
    assert all(changes[:8]) and all(changes[42:])
    steps = np.diff(MouthTrack(avatar.landmarks, 25.0).opacity)
    assert np.abs(steps).max() < 0.6
