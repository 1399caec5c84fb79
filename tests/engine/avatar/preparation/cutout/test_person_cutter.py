"""The person is cut out, and its edges do not flicker."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from fixtures.clips import portrait_image
from musetalk_cli.engine.avatar.preparation.cutout.person_cutter import PersonCutter
from musetalk_cli.errors import AvatarError

SIDE = 256


@pytest.mark.parametrize("name", ["nora", "theo"])
def test_a_portrait_is_cut_out(segmenter: Path, name: str) -> None:
    cutter = PersonCutter(segmenter)
    image = portrait_image(SIDE, name)
    colours, alpha = cutter.cut(image)
    assert cutter.has_person
    assert alpha[:20, :20].max() == alpha[:20, -20:].max() == 0
    assert alpha[110:150, 110:150].min() == 255
    assert np.array_equal(colours[120:140, 120:140], image[120:140, 120:140])


def test_nobody_is_nobody(segmenter: Path) -> None:
    cutter = PersonCutter(segmenter)
    cutter.cut(np.full((SIDE, SIDE, 3), 90, np.uint8))
    assert not cutter.has_person


def test_another_file_is_no_net(tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(b"nothing")
    with pytest.raises(AvatarError, match="cannot be loaded by OpenCV"):
        PersonCutter(path)


class NoisyNet:
    """Masks of noise, each another."""

    def __init__(self) -> None:
        self.numbers = np.random.default_rng(0)

    def setInput(self, blob: np.ndarray) -> None:  # noqa: N802 - as OpenCV calls it
        pass

    def forward(self) -> np.ndarray:
        return self.numbers.random((1, 1, SIDE, SIDE), np.float32)


class FixedNet(NoisyNet):
    """The same mask for whatever it gets."""

    def __init__(self, mask: np.ndarray) -> None:
        self.mask = mask

    def forward(self) -> np.ndarray:
        return self.mask


def test_masks_are_steady_where_nothing_moves_and_follow_what_does(
    segmenter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cutter = PersonCutter(segmenter)
    monkeypatch.setattr(cutter, "_net", NoisyNet())
    image = np.full((SIDE, SIDE, 3), 90, np.uint8)
    first = cutter._follow(image).copy()
    moved = image.copy()
    moved[:, SIDE // 2 :] = 120
    change = np.abs(cutter._follow(moved) - first)
    assert change[:, : SIDE // 2 - 10].mean() < 0.4 * change[:, SIDE // 2 + 10 :].mean()
    before = cutter._follow(moved).copy()
    shot = np.abs(cutter._follow(np.full_like(image, 250)) - before)
    assert shot[:, : SIDE // 2].mean() > 2 * change[:, : SIDE // 2].mean()  # another one


def test_a_mask_moves_with_what_it_shows(segmenter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cutter = PersonCutter(segmenter)
    texture = np.random.default_rng(1).integers(0, 256, (SIDE // 8 + 8, SIDE // 8 + 8, 3), np.uint8)
    wide = cv2.resize(texture, None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)
    half = np.zeros((1, 1, SIDE, SIDE), np.float32)
    half[..., : SIDE // 2] = 1
    shift_px = 3
    for step, seen in enumerate((half, np.full_like(half, 0.5))):
        left = 16 - step * shift_px  # the image moves to the right
        monkeypatch.setattr(cutter, "_net", FixedNet(seen))
        mask = cutter._follow(np.ascontiguousarray(wide[16 : 16 + SIDE, left : left + SIDE]))
    row = mask[40:-40, 20:-60].mean(axis=0)
    assert row.max() > 0.85
    assert row.min() < 0.15
    assert abs(float(np.argmax(row < 0.5)) + 20 - (SIDE // 2 + shift_px)) <= 1
