"""What is transparent keeps its alpha; what is not is cut out."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from musetalk_cli.engine.avatar.frame_store import AlphaStoreWriter, StoredAlphas
from musetalk_cli.engine.avatar.inputs.clip import ClipSettings
from musetalk_cli.engine.avatar.preparation.cutout.background import Background
from musetalk_cli.engine.avatar.preparation.cutout.cut_frames import CutFrames, cut_still
from musetalk_cli.engine.avatar.preparation.cutout.person_cutter import PersonCutter
from musetalk_cli.engine.types.colour import ByteArray, i420_to_bgr
from musetalk_cli.errors import AvatarError

CLIP = ClipSettings(Fraction(25))
TRANSPARENT, GREEN = Background(is_transparent=True), Background((0, 177, 64))
COLOUR = (40, 120, 220)


class HalfCutter(PersonCutter):
    """Cuts out the left half."""

    def __init__(self, has_person: bool = True) -> None:
        self.has_person = has_person

    def cut(self, bgr: ByteArray) -> tuple[ByteArray, ByteArray]:
        alpha = np.zeros(bgr.shape[:2], np.uint8)
        alpha[:, : bgr.shape[1] // 2] = 255
        return bgr, alpha


def no_cutter() -> PersonCutter:
    raise AssertionError("no net is wanted")


def ramp(side: int = 64) -> ByteArray:
    """BGRA of one colour, less and less transparent from left to right."""
    image = np.full((side, side, 4), (*COLOUR, 0), np.uint8)
    image[:, :, 3] = np.linspace(0, 255, side)
    return image


def write(path: Path, image: ByteArray) -> Path:
    assert cv2.imwrite(str(path), image)
    return path


def test_a_transparent_image_keeps_its_alpha(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", ramp())
    colours, alpha = cut_still(path, None, TRANSPARENT, no_cutter)
    assert alpha is not None
    assert np.abs(alpha.astype(int) - ramp()[:, :, 3]).max() <= 1
    assert np.abs(colours[:, 20:].astype(int) - COLOUR).max() <= 4
    assert np.abs(colours.astype(int) - COLOUR).max() <= 20
    opaque, none = cut_still(path, None, GREEN, no_cutter)
    assert none is None
    assert np.abs(opaque[:, 0].astype(int) - (64, 177, 0)).max() <= 1
    assert np.abs(opaque[:, -1].astype(int) - COLOUR).max() <= 1


def test_an_opaque_image_is_cut_out(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", ramp()[:, :, :3])
    image, _ = cut_still(path, None, GREEN, HalfCutter)
    assert image[0, 0].tolist() == list(COLOUR)
    assert image[0, -1].tolist() == [64, 177, 0]
    with pytest.raises(AvatarError, match="shows no person"):
        cut_still(path, None, GREEN, lambda: HalfCutter(has_person=False))


def test_frames_keep_their_alpha_and_it_is_stored(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(3):
        write(folder / f"{number}.png", np.roll(ramp(), number, axis=1))
    with AlphaStoreWriter(tmp_path / "alphas") as alphas:
        frames = CutFrames(folder, "ffmpeg", CLIP, TRANSPARENT, no_cutter, alphas)
        images = list(frames)
        frames.close()
    assert len(images) == 3
    assert np.abs(i420_to_bgr(images[0])[:, 30:].astype(int) - COLOUR).max() <= 4
    stored = StoredAlphas(tmp_path / "alphas", 64, 64, alphas.offsets, alphas.checksums)
    for number, alpha in enumerate(stored.read([0, 1, 2])):
        assert np.abs(alpha.astype(int) - np.roll(ramp()[:, :, 3], number, axis=1)).max() <= 3
    stored.close()
    assert frames.first_alpha is not None


def test_opaque_frames_are_cut_out(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(2):
        write(folder / f"{number}.png", ramp()[:, :, :3])
    frames = CutFrames(folder, "ffmpeg", CLIP, GREEN, HalfCutter, None)
    images = [i420_to_bgr(image) for image in frames]
    assert len(images) == 2
    assert np.abs(images[1][0, 0].astype(int) - COLOUR).max() <= 4
    assert np.abs(images[1][0, -1].astype(int) - (64, 177, 0)).max() <= 4
    with pytest.raises(AvatarError, match="shows no person"):
        list(CutFrames(folder, "ffmpeg", CLIP, GREEN, lambda: HalfCutter(has_person=False), None))
