"""The contract of LipSyncModel, for every model and kind of avatar."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from fixtures.drawn_face import draw_face, shut_lids
from fixtures.drawn_video import talking_avatar
from fixtures.fakes import FakeModel, fake_avatar
from musetalk_cli.engine.avatar.avatar import Avatar
from musetalk_cli.engine.avatar.cycle import avatar_frame
from musetalk_cli.engine.avatar.frames import StillFrames
from musetalk_cli.engine.models.base import LipSyncModel
from musetalk_cli.engine.models.warp.model import WarpModel
from musetalk_cli.engine.types.messages import AudioBlock, ByteArray, FaceBatch, FeatureBatch, FloatArray
from musetalk_cli.engine.video.compositing import composite

RATE = Fraction(25)
NUM_FRAMES = 14
Subject = tuple[LipSyncModel, Avatar]


def warp_of(avatar: Avatar, height_px: int, *, has_idle_motion: bool = False) -> Subject:
    return WarpModel(avatar, RATE, height_px, liveliness=float(has_idle_motion), seed=3), avatar.resized(height_px)


def still(*, has_lids: bool) -> Avatar:
    image, face = draw_face(own_gap=0.0 if has_lids else 0.1)
    return Avatar("still", StillFrames(image), None, (face,), shut_lids(image, face) if has_lids else None)


def musetalk_of(avatar: Avatar, height_px: int) -> Subject:
    pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[neural]'")
    from fixtures.small_nets import small_model

    return small_model(avatar, RATE, height_px), avatar.resized(height_px)


SUBJECTS: dict[str, Callable[[], Subject]] = {
    "fake": lambda: (FakeModel(RATE), fake_avatar()),
    "warp, drawn still": lambda: warp_of(still(has_lids=True), 240, has_idle_motion=True),
    "warp, photo": lambda: warp_of(still(has_lids=False), 320, has_idle_motion=True),
    "warp, video": lambda: warp_of(talking_avatar(9), 320),
    "warp, smaller video": lambda: warp_of(talking_avatar(9), 200),
    "musetalk, still": lambda: musetalk_of(still(has_lids=False), 320),
    "musetalk, smaller video": lambda: musetalk_of(talking_avatar(5), 200),
}


@pytest.fixture(scope="module", params=list(SUBJECTS))
def subject(request: pytest.FixtureRequest) -> Subject:
    return SUBJECTS[request.param]()


def test_expression_changes_how_far_warps_mouth_moves() -> None:
    avatar, features = still(has_lids=False), []
    for expression in (0.5, 1.0, 1.5):
        model = WarpModel(avatar, RATE, 240, liveliness=0.0, seed=3, expression=expression)
        features.append(features_of(model))
    calm, usual, lively = (np.abs(rows[:, :3]).sum(axis=0) for rows in features)
    assert usual.min() > 0
    assert np.all(calm < 0.9 * usual)
    assert np.all(lively > 1.05 * usual)
    for rows in features:
        np.testing.assert_array_equal(rows[:, 3:5], features[0][:, 3:5])


def features_of(model: LipSyncModel) -> FloatArray:
    length = round((model.before_s + 2.0 + model.after_s) * 16_000)
    samples = np.random.default_rng(0).normal(0, 0.1, length).astype(np.float32)
    audio = np.zeros((96_000, 1), np.int16)
    return model.features(AudioBlock(0, samples, -model.before_s, audio, 0, range(50)))


def batch_of(subject: Subject, frames: range) -> FeatureBatch:
    model, avatar = subject
    shown = tuple(avatar_frame(frame, RATE, avatar.frame_rate, avatar.frames.num_frames) for frame in frames)
    audio = np.zeros((8, 1), np.int16)
    features = features_of(model)[frames.start : frames.stop]
    return FeatureBatch(features, frames, audio, shown, tuple(avatar.frames.read(shown)))


def faces_of(model: LipSyncModel, batch: FeatureBatch) -> FaceBatch:
    """Its faces: a model that draws whole frames makes them where there are no images to draw into."""
    made = model.make_faces(batch)
    return made if made.faces else model.make_faces(replace(batch, images=()))


def frames_of(model: LipSyncModel, batch: FeatureBatch) -> tuple[ByteArray, ...]:
    return composite(model.make_faces(batch)).images


def assert_own_or_drawn(made: FaceBatch, batch: FeatureBatch) -> None:
    """The batch's images are passed on; or others are given, for all frames and with no faces to put into them."""
    if made.faces or made.images[0] is batch.images[0]:
        assert all(ours is theirs for ours, theirs in zip(made.images, batch.images, strict=True))
        return
    for ours, theirs in zip(made.images, batch.images, strict=True):
        assert (ours.shape, ours.dtype) == (theirs.shape, np.uint8)
        assert ours.flags.writeable
        assert not np.shares_memory(ours, theirs)


def test_features_come_one_row_a_frame(subject: Subject) -> None:
    features = features_of(subject[0])
    assert features.dtype == np.float32
    assert features.shape[0] == 50
    assert np.isfinite(features).all()


def test_a_face_for_every_frame_in_its_own_region(subject: Subject) -> None:
    batch = batch_of(subject, range(NUM_FRAMES))
    made = faces_of(subject[0], batch)
    assert len(made.faces) == NUM_FRAMES
    assert made.frames == batch.frames
    assert made.audio is batch.audio
    rows, width = batch.images[0].shape
    for face in made.faces:
        left, top, region_width, region_height = face.region
        assert all(value % 2 == 0 for value in face.region)
        assert left >= 0 <= top
        assert left + region_width <= width
        assert top + region_height <= rows * 2 // 3
        assert face.planes.luma.shape == (region_height, region_width)
        assert face.planes.chroma.shape == (region_height // 2, region_width // 2, 2)
        assert face.planes.luma.dtype == face.planes.chroma.dtype == np.uint8
        assert face.mask is None or face.mask.shape == face.planes.luma.shape


def test_the_avatars_images_are_passed_on_and_not_written_into(subject: Subject) -> None:
    batch = batch_of(subject, range(NUM_FRAMES))
    before = [image.copy() for image in batch.images]
    made = subject[0].make_faces(batch)
    assert_own_or_drawn(made, batch)
    assert (made.frames, made.audio) == (batch.frames, batch.audio)
    assert all(np.array_equal(old, new) for old, new in zip(before, batch.images, strict=True))


def test_frames_are_drawn_as_faces_are_put_into_them(subject: Subject) -> None:
    model, batch = subject[0], batch_of(subject, range(NUM_FRAMES))
    faces = replace(faces_of(model, batch), images=tuple(image.copy() for image in batch.images))
    pairs = zip(frames_of(model, batch), composite(faces).images, strict=True)
    assert all(np.array_equal(*pair) for pair in pairs)


def test_frames_depend_neither_on_the_batch_nor_on_the_thread(subject: Subject) -> None:
    model = subject[0]
    whole = frames_of(model, batch_of(subject, range(NUM_FRAMES)))
    batches = [batch_of(subject, range(start, min(start + 3, NUM_FRAMES))) for start in range(0, NUM_FRAMES, 3)]
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda batch: frames_of(model, batch), reversed(batches)))
    made = [image for part in reversed(parts) for image in part]
    max_difference = 1 if model.name.startswith("musetalk") else 0
    assert len(made) == NUM_FRAMES
    assert all(
        np.abs(image.astype(int) - other).max() <= max_difference for image, other in zip(made, whole, strict=True)
    )


def test_idle_frames_are_the_batchs_own(subject: Subject) -> None:
    batch = batch_of(subject, range(3))
    idle = subject[0].make_idle(batch)
    assert len(idle.faces) in (0, 3)
    assert_own_or_drawn(idle, batch)
    assert idle.frames == batch.frames
    assert idle.audio is batch.audio
