"""--compat upstream against the official script's own steps, done here with Pillow and OpenCV as it does them."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[neural]'")
pytest.importorskip("PIL.Image", reason="needs Pillow to compare with")

from fixtures.small_nets import CONFIGS, CPU, face_parts, small_latents, small_model  # noqa: E402
from fixtures.upstream_paste import by_the_script, face_classes, hard_mask, noise_image  # noqa: E402
from musetalk_cli.engine.audio.blocks import BlockCutter, split_block  # noqa: E402
from musetalk_cli.engine.avatar.cycle import double_turn_index  # noqa: E402
from musetalk_cli.engine.avatar.frames import StillFrames  # noqa: E402
from musetalk_cli.engine.avatar.portrait import describe_portrait, open_portrait  # noqa: E402
from musetalk_cli.engine.models.musetalk.face.blend import (  # noqa: E402
    BLUR_PREPARED,
    Box,
    JawBlend,
    crop_box,
    mode_mask,
    soften,
)
from musetalk_cli.engine.models.musetalk.face.masks import MaskSettings  # noqa: E402
from musetalk_cli.engine.models.musetalk.face.parsed_masks import DrawnClasses  # noqa: E402
from musetalk_cli.engine.models.musetalk.face.pillow_resize import resize_bicubic  # noqa: E402
from musetalk_cli.engine.models.musetalk.face.upstream import UpstreamMasking, UpstreamPlacements  # noqa: E402
from musetalk_cli.engine.models.musetalk.inference.face_generator import FaceGenerator  # noqa: E402
from musetalk_cli.engine.types.colour import bgr_to_planes  # noqa: E402
from musetalk_cli.engine.types.messages import NO_REGION, FeatureBatch  # noqa: E402
from musetalk_cli.engine.video.compositing import composite  # noqa: E402


@pytest.mark.parametrize("box", [Box(151, 101, 351, 338), Box(2, 3, 161, 200), Box(420, 250, 640, 480)])
@pytest.mark.parametrize("settings", [MaskSettings(), MaskSettings("jaw", 40, 130), MaskSettings("raw")])
def test_a_frame_is_the_scripts_to_the_last_bit(box: Box, settings: MaskSettings) -> None:
    frame, face = noise_image(481, 641, 1), noise_image(256, 256, 2)
    frames = StillFrames(frame)
    placements = UpstreamPlacements(frames, np.array([box], np.int32), UpstreamMasking([face_classes()], settings))
    placed = placements(0).place(face)
    wanted = by_the_script(frame[:480, :640], face, box, mode_mask(face_classes(), settings))
    left, top, width, height = placed.region
    planes = bgr_to_planes(wanted[top : top + height, left : left + width])
    np.testing.assert_array_equal(placed.planes.luma, planes.luma)
    np.testing.assert_array_equal(placed.planes.chroma, planes.chroma)
    assert placed.mask is None
    changed = np.argwhere((wanted != frame[:480, :640]).any(axis=2))
    assert (changed.min(axis=0) >= (top, left)).all()
    assert (changed.max(axis=0) < (top + height, left + width)).all()
    assert len(changed) > 5_000


@pytest.mark.parametrize(("left", "right"), [(90, 90), (40, 130), (0, 256), (256, 0)])
def test_the_jaws_mask_is_the_scripts_to_the_last_pixel(left: int, right: int) -> None:
    """Its cheeks are rectangles of OpenCV's, which include their ends."""
    classes = face_classes()
    mine = mode_mask(classes, MaskSettings("jaw", left, right))
    np.testing.assert_array_equal(mine, hard_mask(classes, "jaw", left, right))


@pytest.mark.parametrize("box", [Box(151, 101, 351, 338), Box(420, 250, 640, 480)])
def test_a_prepared_mask_blends_as_the_realtime_script_does(box: Box) -> None:
    """It stores the blurred mask and the crop's place with the avatar, as a greyscale PNG, and pastes with them."""
    frame, face = noise_image(480, 640, 1), noise_image(256, 256, 2)
    hard, crop = mode_mask(face_classes(), MaskSettings()), crop_box(box)
    soft = soften(resize_bicubic(hard, crop.width, crop.height), box, crop, BLUR_PREPARED)
    stored = cv2.imdecode(cv2.imencode(".png", soft)[1], cv2.IMREAD_COLOR)[:, :, 0]
    np.testing.assert_array_equal(stored, soft)
    blend = JawBlend(frame, box, crop, stored)
    mine = frame.copy()
    left, top, right, bottom = blend.region
    mine[top:bottom, left:right] = blend.blend(face)
    np.testing.assert_array_equal(mine, by_the_script(frame, face, box, hard, blur=0.1))


def test_a_mask_without_anything_leaves_the_frame() -> None:
    frames, nobody = StillFrames(noise_image(480, 640, 1)), np.zeros((512, 512), np.uint8)
    placements = UpstreamPlacements(frames, np.array([[20, 20, 90, 90]]), UpstreamMasking([nobody], MaskSettings()))
    assert placements(0).place(noise_image(256, 256, 2)).region == NO_REGION


def test_its_cycle_shows_both_turns_twice() -> None:
    assert [double_turn_index(step, 3) for step in range(9)] == [0, 1, 2, 2, 1, 0, 0, 1, 2]
    assert [double_turn_index(step, 1) for step in range(3)] == [0, 0, 0]


def test_the_whole_model_generates_in_silence_and_blends_as_the_script_does() -> None:
    avatar = open_portrait(describe_portrait("nora")).resized(200)
    parts = face_parts(avatar)
    masking = UpstreamMasking(DrawnClasses(avatar, parts.boxes), MaskSettings())
    model = small_model(avatar, Fraction(25), 200, upstream=masking)
    audio = np.zeros((48_000 * 7, 1), np.int16)
    audio[: 48_000 * 2] = np.random.default_rng(0).integers(-9000, 9000, (48_000 * 2, 1))
    cutter = BlockCutter(2.0, model.before_s, model.after_s, Fraction(25))
    blocks = [*cutter.push(audio), *cutter.finish()]
    features = [model.features(block) for block in blocks]
    assert sum(map(len, features)) == 175
    assert (np.concatenate(features)[:, -1] == 1).all()
    assert model.num_silent == 0
    batch = next(split_block(blocks[1], features[1], 3, Fraction(25)))
    images = tuple(avatar.frames.read([0] * 3))
    shown = FeatureBatch(batch.features, batch.frames, batch.audio, (0, 0, 0), images)
    frames = composite(model.make_faces(shown)).images

    from musetalk_cli.engine.models.musetalk.checkpoints.loading import random_nets
    from musetalk_cli.engine.types.colour import planes_to_i420

    generator = FaceGenerator(random_nets("1.5", CPU, seed=2, configs=CONFIGS))
    latents = generator.to_device(small_latents(avatar, parts))[[0, 0, 0]]
    generated = generator.generate(latents, np.ascontiguousarray(batch.features[:, :-1]))
    hard = mode_mask(masking.classes[0], masking.mask)
    for image, face in zip(frames, generated, strict=True):
        whole = by_the_script(avatar.frames.image(), face, Box(*map(int, parts.boxes[0])), hard)
        np.testing.assert_array_equal(image, planes_to_i420(bgr_to_planes(whole)))
