"""The comparisons of masks, pasted faces and cycles with the official scripts' own steps, done by Pillow and OpenCV."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from fixtures.upstream_paste import by_the_script, face_classes, hard_mask, noise_image, paste_face, soft_mask
from musetalk_cli.engine.avatar.cycle import double_turn_index
from musetalk_cli.engine.avatar.frame_store import FrameStoreWriter, StoredFrames
from musetalk_cli.engine.avatar.frames import AvatarFrames, StillFrames
from musetalk_cli.engine.models.musetalk.face.blend import (
    BLUR_PREPARED,
    Box,
    JawBlend,
    crop_box,
    mode_mask,
    soften,
)
from musetalk_cli.engine.models.musetalk.face.masks import MaskSettings
from musetalk_cli.engine.models.musetalk.face.pillow_resize import resize_bicubic, resize_bilinear
from musetalk_cli.engine.models.musetalk.face.upstream import UpstreamMasking, UpstreamPlacements
from musetalk_cli.engine.types.colour import ByteArray, as_bytes, bgr_to_planes, planes_to_i420
from tools.measure.parity.lines import SEED, Line

LEVELS = "levels of 255, most"
# Each version's mode of the mask, as the current scripts run it.
MODES = {"1.5": "jaw", "1.0": "raw"}
MAX_CYCLE = 60


def synthetic_face() -> ByteArray:
    """A stand-in for a face: uint8 BGR (256, 256, 3), an even skin with a mouth before an even wall."""
    image = np.full((256, 256, 3), (200, 205, 210), np.uint8)
    cv2.ellipse(image, (128, 120), (90, 125), 0, 0, 360, (150, 175, 215), -1, cv2.LINE_AA)
    cv2.ellipse(image, (128, 195), (32, 12), 0, 0, 360, (80, 70, 160), -1, cv2.LINE_AA)
    for x in (90, 166):
        cv2.circle(image, (x, 95), 9, (60, 50, 50), -1, cv2.LINE_AA)
    return as_bytes(cv2.GaussianBlur(image, (5, 5), 0))


def synthetic_video() -> list[ByteArray]:
    """A stand-in for a video: uint8 BGR (300, 400, 3) each, the drawn face as it moves over noise."""
    frames = []
    for step in range(5):
        frame = noise_image(300, 400, seed=step)
        frame[20:276, 40 + 8 * step : 296 + 8 * step] = synthetic_face()
        frames.append(frame)
    return frames


def compare_masks() -> Iterator[Line]:
    """The masks of class maps, with the cheeks as rectangles of OpenCV's."""
    classes, apart = face_classes(), 0
    for left, right in ((90, 90), (40, 130), (0, 256), (256, 0)):
        mine = mode_mask(classes, MaskSettings("jaw", left, right))
        apart += int((mine != hard_mask(classes, "jaw", left, right)).sum())
    yield Line("jaw mask, four widths of cheeks", "OpenCV's rectangles", float(apart), "pixels", 0.0)
    modes = (MaskSettings("raw"), MaskSettings("neck"))
    apart = sum(int((mode_mask(classes, each) != hard_mask(classes, each.mode)).sum()) for each in modes)
    yield Line("raw and neck masks", "the scripts' classes", float(apart), "pixels", 0.0)


def compare_blend() -> Iterator[Line]:
    """Pillow's arithmetic: blending, and both filters that resize."""
    from PIL import Image

    rng = np.random.default_rng(SEED)
    frame = rng.integers(0, 256, (720, 1280, 3), dtype=np.uint8)
    face = rng.integers(0, 256, (256, 256, 3), dtype=np.uint8)
    box = Box(430, 160, 811, 600)
    crop = crop_box(box)
    mask = rng.integers(0, 256, (crop.height, crop.width), dtype=np.uint8)
    error = _differ(_blended(frame, face, box, mask), paste_face(frame, face, box, mask, crop))
    yield Line("jaw blend, 1280 × 720", "Pillow's crop, paste and paste", error, LEVELS, 0.0)
    frame_sized = cv2.resize(frame, (700, 700), interpolation=cv2.INTER_NEAREST)
    wanted = np.array(Image.fromarray(frame_sized).resize((512, 512), Image.Resampling.BILINEAR))
    error = _differ(resize_bilinear(frame_sized, 512, 512), wanted)
    yield Line("face for parsing resized", "Pillow's bilinear", error, LEVELS, 0.0)
    error = _differ(resize_bicubic(mask, 512, 512), np.array(Image.fromarray(mask).resize((512, 512))))
    yield Line("mask resized", "Pillow's bicubic", error, LEVELS, 0.0)


def compare_paste(frames: Sequence[ByteArray]) -> Iterator[Line]:
    """Frames with faces, ``--compat``, in both versions: of a still avatar, and of a video's that is stored without
    loss. ``frames`` uint8 BGR, all of one size."""
    with tempfile.TemporaryDirectory() as folder:
        video = _store(Path(folder) / "frames", frames)
        for version, mode in MODES.items():
            for what, avatar in (("a still", StillFrames(frames[0])), ("a video", video)):
                error = max(_compare_frame(avatar, index, mode) for index in range(avatar.num_frames))
                against = "inference.py's mask and paste, by Pillow and OpenCV"
                yield Line(f"frames of {what}, {version}, --compat", against, error, LEVELS, 0.0)
        video.close()


def compare_realtime(frames: Sequence[ByteArray]) -> Iterator[Line]:
    """What realtime_inference.py prepares and caches: its cycle of frames, and the mask of each as a PNG."""
    apart = 0
    for count in range(1, MAX_CYCLE + 1):
        cycle = [*range(count), *reversed(range(count))]
        apart += sum(double_turn_index(step, count) != cycle[step % len(cycle)] for step in range(5 * count))
    what = f"cycle of 1 … {MAX_CYCLE} frames, --compat"
    yield Line(what, "realtime_inference.py's list, there and back", float(apart), "frames", 0.0)
    masks = pasted = 0.0
    for index, frame in enumerate(frames):
        box, hard = _box_in(frame, index), hard_mask(face_classes(), "jaw")
        crop = crop_box(box)
        soft, place = soft_mask(hard, box, BLUR_PREPARED)
        # It reads the PNG with three equal channels, and makes it grey again.
        stored = cv2.cvtColor(cv2.imdecode(cv2.imencode(".png", soft)[1], cv2.IMREAD_COLOR), cv2.COLOR_BGR2GRAY)
        mine = soften(resize_bicubic(hard, crop.width, crop.height), box, crop, BLUR_PREPARED)
        masks = max(masks, _differ(mine, stored))
        face = noise_image(256, 256, seed=index)
        pasted = max(pasted, _differ(_blended(frame, face, box, mine), paste_face(frame, face, box, stored, place)))
    yield Line("prepared masks", "realtime_inference.py's, stored and read", masks, LEVELS, 0.0)
    yield Line("frames with prepared masks", "realtime_inference.py's paste", pasted, LEVELS, 0.0)


def _compare_frame(avatar: AvatarFrames, index: int, mode: str) -> float:
    """The largest difference of a frame's planes, from a new face in it."""
    frame = avatar.image(index)[: avatar.height, : avatar.width]
    box, face, classes = _box_in(frame, index), noise_image(256, 256, seed=index), face_classes()
    boxes = np.tile(np.array([box], np.int32), (avatar.num_frames, 1))
    masking = UpstreamMasking([classes] * avatar.num_frames, MaskSettings(mode))
    placed = UpstreamPlacements(avatar, boxes, masking)(index).place(face)
    left, top, width, height = placed.region
    wanted = by_the_script(frame, face, box, hard_mask(classes, mode))
    own = frame.copy()
    own[top : top + height, left : left + width] = wanted[top : top + height, left : left + width]
    mine = planes_to_i420(placed.planes)
    theirs = planes_to_i420(bgr_to_planes(wanted[top : top + height, left : left + width]))
    return max(_differ(mine, theirs), _differ(own, wanted))


def _box_in(frame: ByteArray, index: int) -> Box:
    """A face box that moves from frame to frame, up to the right edge."""
    height, width = frame.shape[:2]
    left = width // 4 + index
    return Box(left, height // 4, min(width, left + width // 2), height * 7 // 8)


def _blended(frame: ByteArray, face: ByteArray, box: Box, mask: ByteArray) -> ByteArray:
    """A whole frame with a face by ``JawBlend``."""
    blend = JawBlend(frame, box, crop_box(box), mask)
    left, top, right, bottom = blend.region
    whole = frame.copy()
    whole[top:bottom, left:right] = blend.blend(face)
    return whole


def _store(path: Path, frames: Sequence[ByteArray]) -> StoredFrames:
    height, width = (size - size % 2 for size in frames[0].shape[:2])
    with FrameStoreWriter(path, is_lossless=True) as writer:
        for frame in frames:
            writer.write(planes_to_i420(bgr_to_planes(frame[:height, :width])))
    return StoredFrames(path, width, height, writer.offsets, writer.checksums)


def _differ(mine: ByteArray, wanted: ByteArray) -> float:
    return float(np.abs(mine.astype(int) - wanted).max())
