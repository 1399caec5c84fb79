"""What a setting means, what the record says of it, and what it looks like."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from musetalk_cli.engine.avatar.preparation.cutout.background import KEPT, Background
from musetalk_cli.engine.avatar.preparation.settings import PreparationSettings
from musetalk_cli.errors import AvatarError


def test_settings() -> None:
    assert Background.parse("keep") == KEPT
    assert Background.parse("transparent").is_transparent
    assert Background.parse("#00b140") == Background((0, 177, 64))
    assert Background.parse("~/beach.jpg").image == Path("~/beach.jpg").expanduser()


def test_avatars_of_earlier_versions_are_up_to_date() -> None:
    assert PreparationSettings().as_parameters()["background"] == "#ffffff"
    assert Background.parse("#ffffff").as_parameters() != KEPT.as_parameters()


def test_another_image_of_the_same_name_is_another_background(tmp_path: Path) -> None:
    path = tmp_path / "beach.png"
    behind = Background(image=path)
    with pytest.raises(AvatarError, match="cannot read the background"):
        behind.as_parameters()
    known = []
    for level in (10, 20):
        cv2.imwrite(str(path), np.full((80, 80, 3), level, np.uint8))
        known.append(behind.as_parameters())
    assert known[0] != known[1]


def test_pixels(tmp_path: Path) -> None:
    assert Background((1, 2, 3)).pixels(4, 2).tolist() == [[[3, 2, 1]] * 4] * 2
    image = np.zeros((100, 300, 3), np.uint8)
    image[:, 100:200] = 255
    cv2.imwrite(str(tmp_path / "wide.png"), image)
    shown = Background(image=tmp_path / "wide.png").pixels(50, 50)
    assert shown.shape == (50, 50, 3)
    assert shown.min() == 255  # the middle; both sides are cut off
