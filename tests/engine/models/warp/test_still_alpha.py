"""The alpha of a still moves as its image does."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from musetalk_cli.engine.avatar.avatar import Avatar
from musetalk_cli.engine.avatar.frames import StillAlpha as OneAlpha
from musetalk_cli.engine.avatar.frames import StillFrames
from musetalk_cli.engine.avatar.portrait import describe_portrait
from musetalk_cli.engine.models.warp.idle.idle_motion import life_at
from musetalk_cli.engine.models.warp.still_alpha import StillAlpha
from musetalk_cli.engine.models.warp.still_avatar import StillAvatarRenderer
from musetalk_cli.engine.types.colour import ByteArray, as_bytes
from musetalk_cli.errors import AvatarError

HEIGHT, TIMES_S = 256, (0.0, 0.7, 1.9, 3.3)


def drawn(alpha: ByteArray, height: int = 512) -> Avatar:
    """A still with a portrait's face, whose image is its alpha."""
    portrait = describe_portrait("nora")
    factor = height / portrait.height
    face = type(portrait.landmarks)(
        **{name: np.asarray(points * factor, np.float32) for name, points in vars(portrait.landmarks).items()}
    )
    return Avatar("drawn", StillFrames(as_bytes(cv2.merge([alpha] * 3))), None, (face,), alphas=OneAlpha(alpha))


def head() -> ByteArray:
    """An ellipse with a soft edge around where a portrait's face is."""
    portrait = describe_portrait("nora")
    width = round(portrait.width * 512 / portrait.height) // 2 * 2
    outline = portrait.landmarks.oval * (512 / portrait.height)
    alpha = np.zeros((512, width), np.uint8)
    centre, axes = outline.mean(axis=0), np.ptp(outline, axis=0) * 0.7
    cv2.ellipse(alpha, (tuple(map(float, centre)), tuple(map(float, axes * 1.5)), 0), 255, -1)
    return as_bytes(cv2.GaussianBlur(alpha, (0, 0), 4))


def test_it_moves_with_the_image() -> None:
    avatar = drawn(head())
    alpha = StillAlpha(avatar, height_px=HEIGHT)
    image = StillAvatarRenderer(replace(avatar, alphas=None), height_px=HEIGHT, has_idle_motion=True)
    moved = [alpha.at(life_at(3, time_s)) for time_s in TIMES_S]
    assert any(np.abs(each.astype(int) - moved[0]).max() > 10 for each in moved[1:])
    for time_s, each in zip(TIMES_S, moved, strict=True):
        face = image.render(np.zeros(6, np.float32), life_at(3, time_s))
        left, top, width, height = face.region
        shown = (face.planes.luma.astype(float) - 16) * 255 / 219
        part = slice(top, top + height), slice(left, left + width)
        edge = (shown > 20) & (shown < 235) & (alpha._inner[part] == 0)
        assert edge.sum() > 200
        assert np.abs(each[part] - shown)[edge].max() <= 2
    assert np.array_equal(alpha.at(life_at(3, 1.9)), moved[2])


def test_a_face_is_whole_whatever_is_drawn_in_it() -> None:
    full = np.full_like(head(), 255)
    alpha = StillAlpha(drawn(full), height_px=HEIGHT)
    for time_s in np.arange(0, 8, 0.2):  # blinks included
        assert alpha.at(life_at(3, float(time_s))).min() >= 254


def test_an_opaque_avatar_has_none() -> None:
    with pytest.raises(AvatarError, match="not transparent"):
        StillAlpha(replace(drawn(head()), alphas=None), height_px=HEIGHT)
