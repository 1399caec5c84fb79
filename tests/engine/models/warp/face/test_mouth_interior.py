"""What an open mouth shows between its lips, from top to bottom."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.portrait import describe_portrait, open_portrait
from musetalk_cli.engine.models.warp.face.mouth_pose import MouthPose
from musetalk_cli.engine.models.warp.still_avatar import StillAvatarRenderer

TOOTH, DEEP = 110, 60  # luma: teeth are above the first, the back of the mouth is below the second
SIDE = 768


@dataclass(frozen=True)
class Column:
    """Luma and Cr of the pixels from the upper lip down, beside the gap between two teeth, and the mouth's width."""

    luma: NDArray[np.int_]
    red: NDArray[np.int_]
    unit_px: float

    @property
    def is_tooth(self) -> NDArray[np.bool_]:
        return (self.luma > TOOTH) & (self.red < 145)

    @property
    def is_tongue(self) -> NDArray[np.bool_]:
        return (self.luma > 70) & (self.luma < 125) & (self.red > 148)


def column_of(*shape: float) -> Column:
    """What nora's mouth shows in this shape."""
    avatar = open_portrait(describe_portrait("nora"))
    face = StillAvatarRenderer(avatar, height_px=SIDE, has_idle_motion=False)
    axes = MouthPose.of_still(avatar.resized(SIDE).landmarks[0]).axes
    planes = face.render(np.array(shape, np.float32)).planes
    column = round(float(axes.origin_px[0])) - face.region.left + 6
    rows = round(float(axes.origin_px[1])) - face.region.top + np.arange(round(0.33 * axes.unit_px)) - 2
    red = planes.chroma[rows // 2, column // 2, 1].astype(int)
    return Column(planes.luma[rows, column].astype(int), red, axes.unit_px)


def test_a_low_jaw_shows_both_rows_of_teeth_and_the_tongue_between_them() -> None:
    shown = column_of(1, 1, 0.1, 0, 0, 0)
    last_dark = int(np.flatnonzero(shown.luma < DEEP)[-1])
    assert shown.is_tooth[:last_dark].sum() > 0.05 * shown.unit_px, "the upper row"
    assert shown.is_tongue[last_dark:].sum() > 0.02 * shown.unit_px, "the tongue"
    assert shown.is_tooth[last_dark:].sum() > 0.03 * shown.unit_px, "the lower row"


def test_a_raised_tip_fills_what_was_dark_between_the_teeth() -> None:
    down, raised = column_of(1, 1, 0.1, 0, 0, 0), column_of(1, 1, 0.1, 0, 0, 0.66)
    assert np.array_equal(down.is_tooth, raised.is_tooth)
    assert (raised.luma < DEEP).sum() < 0.5 * (down.luma < DEEP).sum()
    assert raised.is_tongue.sum() > down.is_tongue.sum() + 0.02 * down.unit_px


def test_a_tip_between_the_teeth_covers_the_lower_row() -> None:
    down, out = column_of(1, 0.8, 0.1, 0, 0, 0), column_of(1, 0.8, 0.1, 0, 0, 1)
    last_dark = int(np.flatnonzero(down.luma < DEEP)[-1])
    assert np.array_equal(down.is_tooth[:last_dark], out.is_tooth[:last_dark])
    assert out.is_tooth[last_dark:].sum() < 0.6 * down.is_tooth[last_dark:].sum()


def test_shut_lips_hide_the_tongue() -> None:
    assert np.array_equal(column_of(0, 0, 0, 0, 0, 0).luma, column_of(0, 0, 0, 0, 0, 1).luma)
