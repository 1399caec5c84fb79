"""What an open mouth shows between its lips, from top to bottom."""

from __future__ import annotations

import numpy as np

from musetalk_cli.engine.avatar.portrait import describe_portrait, open_portrait
from musetalk_cli.engine.models.warp.face.mouth_pose import MouthPose
from musetalk_cli.engine.models.warp.still_avatar import StillAvatarRenderer

TOOTH, DEEP = 110, 60  # luma: teeth are above the first, the back of the mouth is below the second
SIDE = 768


def test_a_low_jaw_shows_both_rows_of_teeth_and_the_tongue_between_them() -> None:
    avatar = open_portrait(describe_portrait("nora"))
    face = StillAvatarRenderer(avatar, height_px=SIDE, has_idle_motion=False)
    axes = MouthPose.of_still(avatar.resized(SIDE).landmarks[0]).axes
    planes = face.render(np.array([1, 1, 0.1, 0, 0], np.float32)).planes
    column = round(float(axes.origin_px[0])) - face.region.left + 6  # beside the gap between two teeth
    rows = round(float(axes.origin_px[1])) - face.region.top + np.arange(round(0.33 * axes.unit_px)) - 2
    luma = planes.luma[rows, column].astype(int)
    red = planes.chroma[rows // 2, column // 2, 1].astype(int)
    last_dark = int(np.flatnonzero(luma < DEEP)[-1])
    is_tooth, is_tongue = (luma > TOOTH) & (red < 145), (luma > 70) & (luma < 120) & (red > 150)
    assert is_tooth[:last_dark].sum() > 0.05 * axes.unit_px, "the upper row"
    assert is_tongue[last_dark:].sum() > 0.02 * axes.unit_px, "the tongue"
    assert is_tooth[last_dark:].sum() > 0.03 * axes.unit_px, "the lower row"
