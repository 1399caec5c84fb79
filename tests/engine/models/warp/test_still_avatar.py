"""A warped still: which pixels change, how the mouth opens and closes, and equal output in any thread."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from fixtures.drawn_face import draw_face, shut_lids
from musetalk_cli.engine.avatar.avatar import Avatar, Eyelids
from musetalk_cli.engine.avatar.frames import StillFrames, resize_image
from musetalk_cli.engine.avatar.landmarks import Landmarks
from musetalk_cli.engine.avatar.portrait import describe_portrait, open_portrait
from musetalk_cli.engine.models.warp.face.geometry import MouthAxes
from musetalk_cli.engine.models.warp.idle.idle_motion import life_at
from musetalk_cli.engine.models.warp.idle.life import LifeState
from musetalk_cli.engine.models.warp.still_avatar import StillAvatarRenderer
from musetalk_cli.engine.types.colour import Planes, bgr_to_planes, even_size, planes_to_i420
from musetalk_cli.engine.video.compositing import write_face

REST = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
OPEN = (1.0, 0.95, 0.1, 0.0, 0.0, 0.0)
SEED = 7


def _shape(*values: float) -> NDArray[np.float32]:
    return np.array(values, dtype=np.float32)


@dataclass(frozen=True)
class RenderedStill:
    """A renderer, and the avatar's own image, ``planes``, that its faces go into."""

    face: StillAvatarRenderer
    planes: Planes

    @classmethod
    def of(
        cls,
        image: NDArray[np.uint8],
        landmarks: Landmarks,
        lids: Eyelids | None,
        height_px: int,
        *,
        has_idle_motion: bool,
    ) -> RenderedStill:
        size = even_size(image.shape[1], image.shape[0], height_px)
        avatar = Avatar("drawn", StillFrames(image), None, (landmarks,), lids)
        face = StillAvatarRenderer(avatar, height_px=height_px, has_idle_motion=has_idle_motion)
        return cls(face, bgr_to_planes(resize_image(image, *size)))

    @property
    def base(self) -> Planes:
        return _frame(self, REST)


def _face(
    height_px: int = 320, *, has_idle_motion: bool = False, tilt_deg: float = 0.0, own_gap: float = 0.0
) -> RenderedStill:
    image, landmarks = draw_face(tilt_deg, own_gap)
    return RenderedStill.of(image, landmarks, shut_lids(image, landmarks), height_px, has_idle_motion=has_idle_motion)


def _frame(still: RenderedStill, shape: tuple[float, ...], time_s: float = 0.0) -> Planes:
    image = planes_to_i420(still.planes)
    write_face(image, still.face.render(_shape(*shape), life_at(SEED, time_s)))
    height, width = still.planes.luma.shape
    chroma = image[height:].reshape(2, height // 2, width // 2)
    return Planes(image[:height], np.moveaxis(chroma, 0, 2))


def _dark_rows(face: RenderedStill, shape: tuple[float, ...], landmarks: Landmarks) -> int:
    """Number of pixels down the mouth's middle, across the lips, that are darker than lips and skin at rest."""
    axes = MouthAxes.of(landmarks)
    rest, frame = _frame(face, REST).luma, _frame(face, shape).luma
    column = round(float(axes.origin_px[0]))
    rows = slice(
        round(float(axes.origin_px[1] - 0.15 * axes.unit_px)), round(float(axes.origin_px[1] + 0.5 * axes.unit_px))
    )
    lip = float(np.median(rest[rows, column]))
    return int((frame[rows, column] < lip - 30).sum())


def test_at_rest_a_closed_mouth_is_the_image() -> None:
    image, landmarks = draw_face()
    face = RenderedStill.of(image, landmarks, None, 320, has_idle_motion=False)
    expected = bgr_to_planes(image)
    assert np.array_equal(face.base.luma, expected.luma)
    assert np.array_equal(face.base.chroma, expected.chroma)


@pytest.mark.parametrize("height_px", [64, 201, 320, 500])
@pytest.mark.parametrize("has_idle_motion", [False, True])
def test_region_is_even_and_inside(height_px: int, has_idle_motion: bool) -> None:
    face = _face(height_px, has_idle_motion=has_idle_motion)
    left, top, width, height = face.face.region
    assert all(value % 2 == 0 for value in face.face.region)
    assert min(left, top) >= 0
    assert left + width <= face.base.luma.shape[1]
    assert top + height <= face.base.luma.shape[0]
    part = face.face.render(_shape(*OPEN), life_at(SEED, 1.0)).planes
    assert part.luma.shape == (height, width)
    assert part.chroma.shape == (height // 2, width // 2, 2)
    assert part.luma.dtype == part.chroma.dtype == np.uint8


def test_motion_fades_out_before_the_region_ends() -> None:
    face = _face(has_idle_motion=True)
    for time_s in (1.0, 3.3, 8.1):
        difference = np.abs(_frame(face, OPEN, time_s).luma.astype(int) - face.base.luma)
        left, top, width, height = face.face.region
        inner = np.zeros_like(difference, dtype=bool)
        inner[top + 2 : top + height - 2, left + 2 : left + width - 2] = True
        assert difference.max() > 30
        assert difference[~inner].max() <= 4


def test_without_idle_motion_only_the_mouth_changes() -> None:
    face = _face(has_idle_motion=False)
    assert np.array_equal(_frame(face, OPEN, 0.0).luma, _frame(face, OPEN, 5.7).luma)
    changed = np.flatnonzero((_frame(face, OPEN).luma != face.base.luma).any(axis=1))
    eyes_bottom = float(draw_face()[1].left_lower_lid[:, 1].max())
    assert changed.min() > eyes_bottom


@pytest.mark.parametrize("own_gap", [0.0, 0.2])
def test_gap_grows_with_o(own_gap: float) -> None:
    landmarks = draw_face(own_gap=own_gap)[1]
    face = _face(own_gap=own_gap)
    rows = [_dark_rows(face, (o, o, -1.0, 0.0, 0.0, 0.0), landmarks) for o in np.linspace(0, 1, 6)]
    assert rows[0] <= 2  # the line between lips
    assert all(after >= before for before, after in pairwise(rows))
    # A gap of 0.30 mouth widths; teeth and shading take some of it.
    assert rows[-1] >= 0.15 * 72


@pytest.mark.parametrize("gap", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("own_gap", [0.0, 0.2])
def test_closure_wins_over_any_gap(gap: float, own_gap: float) -> None:
    landmarks = draw_face(own_gap=own_gap)[1]
    face = _face(own_gap=own_gap)
    assert _dark_rows(face, (gap, 0.3, 0.0, 1.0, 0.0, 1.0), landmarks) <= 1


def test_open_mouthed_image_is_closed_at_rest() -> None:
    image, _ = draw_face(own_gap=0.2)
    face = _face(own_gap=0.2)
    teeth = bgr_to_planes(image).luma[210:216, 144]
    assert teeth.min() > 190
    assert face.base.luma[195:240, 144].max() < 180


def test_same_bytes_from_any_thread() -> None:
    face = _face(has_idle_motion=True).face
    random = np.random.default_rng(0)
    shapes = [
        (_shape(*random.random(2), random.random() * 2 - 1, *random.random(3)), life_at(SEED, 2.5 + k / 25))
        for k in range(24)
    ]
    expected = [face.render(*shape) for shape in shapes]
    with ThreadPoolExecutor(4) as pool:
        for made, wanted in zip(pool.map(lambda shape: face.render(*shape), shapes), expected, strict=True):
            assert made.planes.luma.tobytes() == wanted.planes.luma.tobytes()
            assert made.planes.chroma.tobytes() == wanted.planes.chroma.tobytes()


@pytest.mark.parametrize("width", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("closure", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("tilt_deg", [-20.0, 0.0, 20.0])
def test_extreme_shapes_leave_no_hole(width: float, closure: float, tilt_deg: float) -> None:
    face = _face(tilt_deg=tilt_deg)
    frame = _frame(face, (1.0, 1.0, width, closure, 1.0, 1.0))
    # Video black is 16; the darkest cavity stays above it and nothing was left unwritten.
    assert frame.luma.min() >= 16
    assert frame.luma.max() <= 240
    assert np.abs(frame.chroma.astype(int) - 128).max() < 70


def test_shapes_out_of_range_are_clipped() -> None:
    face = _face()
    clipped = _frame(face, (1, 1, -1, 0, 0, 0))
    assert np.array_equal(_frame(face, (3, 9, -4, -1, -1, -2)).luma, clipped.luma)
    assert np.array_equal(_frame(face, (np.nan, np.inf, -np.inf, np.nan, 0, np.nan)).luma, face.base.luma)


def test_a_tiny_face_speaks_too() -> None:
    face = _face(64)
    assert np.abs(_frame(face, OPEN).luma.astype(int) - face.base.luma).max() > 20


@pytest.mark.parametrize("height_px", range(24, 48, 4))
def test_a_tiny_mouth_stays_the_same_where_its_head_begins_to_move(height_px: int) -> None:
    """At 32 pixels, its lips lie in one row of nodes."""
    face = StillAvatarRenderer(open_portrait(describe_portrait("nora")), height_px=height_px, has_idle_motion=True)
    still, moved = (face.render(_shape(*OPEN), life).planes for life in (LifeState(), LifeState(yaw=1e-6)))
    assert np.abs(still.luma.astype(int) - moved.luma).max() <= 2


def test_tilted_face_opens_along_its_own_axis() -> None:
    straight, tilted = _face(), _face(tilt_deg=20.0)
    changed = [int((np.abs(_frame(f, OPEN).luma.astype(int) - f.base.luma) > 40).sum()) for f in (straight, tilted)]
    assert changed[1] == pytest.approx(changed[0], rel=0.15)


def test_mouth_shows_the_same_at_every_size() -> None:
    small, large = (_frame(_face(height_px), OPEN).luma for height_px in (320, 640))
    assert (large < 50).mean() == pytest.approx((small < 50).mean(), rel=0.2)


@pytest.mark.parametrize("margin", [(0, 0, 200, 200), (0, 200, 0, 0)])
def test_images_of_other_aspects(margin: tuple[int, int, int, int]) -> None:
    top, bottom, left, right = margin
    image, landmarks = draw_face()
    wide = np.pad(image, ((top, bottom), (left, right), (0, 0)), mode="edge")
    moved = Landmarks.from_mapping({name: points + np.array([left, top]) for name, points in vars(landmarks).items()})
    face = RenderedStill.of(wide, moved, None, wide.shape[0], has_idle_motion=False)
    alone = RenderedStill.of(image, landmarks, None, 320, has_idle_motion=False)
    mouth = _frame(face, OPEN).luma[top + 190 : top + 250, left + 100 : left + 190]
    assert np.abs(mouth.astype(int) - _frame(alone, OPEN).luma[190:250, 100:190]).mean() < 2


def test_a_blink_shows_the_avatars_own_lids() -> None:
    face = _face(has_idle_motion=True)
    eye = np.s_[105:122, 85:110]
    brightness = [float(_frame(face, REST, k / 25).luma[eye].mean()) for k in range(200)]
    assert max(brightness) - min(brightness) > 10


def test_a_turned_head_moves_the_nose_more_than_the_outline_and_the_borders_not_at_all() -> None:
    image, landmarks = draw_face()
    rng = np.random.default_rng(3)
    noise = rng.integers(-25, 25, image.shape[:2])[..., None]
    textured = np.clip(image.astype(int) + noise, 0, 255).astype(np.uint8)
    still = RenderedStill.of(textured, landmarks, None, 320, has_idle_motion=True)
    base = still.base.luma
    turned = planes_to_i420(still.planes)
    write_face(turned, still.face.render(_shape(*REST), LifeState(yaw=np.deg2rad(6.0))))

    def shift_at(x: float, y: float) -> float:
        """How far to the right what the image shows around a point has moved, pixels."""
        left, top = round(x) - 8, round(y) - 8
        patch = base[top : top + 16, left : left + 16].astype(np.float32)
        around = turned[top : top + 16, left - 12 : left + 28].astype(np.float32)
        return float(cv2.matchTemplate(around, patch, cv2.TM_CCOEFF_NORMED)[0].argmax()) - 12

    nose, side = landmarks.nose[1], landmarks.oval[27]
    assert 4 <= shift_at(*nose) <= 12
    assert abs(shift_at(float(side[0]), float(side[1]))) <= 2
    height, width = base.shape
    for edge in (np.s_[:2], np.s_[height - 2 : height], np.s_[:, :2], np.s_[:, width - 2 :]):
        assert np.abs(turned[:height][edge].astype(int) - base[edge]).max() <= 2


def test_raised_brows_leave_the_eyes_where_they_are() -> None:
    face = _face(has_idle_motion=True)
    image = planes_to_i420(face.planes)
    write_face(image, face.face.render(_shape(*REST), LifeState(brows=1.0)))
    difference = np.abs(image[: face.base.luma.shape[0]].astype(int) - face.base.luma)
    mouth = draw_face()[1].outer_upper_lip
    assert difference[int(mouth[:, 1].min()) - 5 :].max() <= 3
