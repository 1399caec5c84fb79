"""The cycle through an avatar's frames, and avatars at another size."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from musetalk_cli.engine.avatar.avatar import Avatar
from musetalk_cli.engine.avatar.cycle import avatar_frame, cycle_index
from musetalk_cli.engine.avatar.frames import StillFrames
from musetalk_cli.engine.avatar.portrait import describe_portrait
from musetalk_cli.errors import AvatarError

NTSC = Fraction(30_000, 1001)


@pytest.mark.parametrize(
    ("num_frames", "expected"),
    [(1, [0, 0, 0, 0]), (2, [0, 1, 0, 1]), (4, [0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0])],
)
def test_the_cycle_turns_without_showing_a_frame_twice(num_frames: int, expected: list[int]) -> None:
    assert [cycle_index(step, num_frames) for step in range(len(expected))] == expected


def test_the_avatar_keeps_its_own_pace() -> None:
    shown = [avatar_frame(frame, Fraction(25), NTSC, 1000) for frame in range(50)]
    assert shown[25] == 30  # a second later, a second's frames have passed
    assert set(np.diff(shown)) == {1, 2}
    assert [avatar_frame(frame, Fraction(50), Fraction(25), 9) for frame in range(6)] == [0, 1, 1, 2, 2, 3]


def test_the_pace_does_not_drift_in_a_day() -> None:
    day = 25 * 86_400
    steps = [frame * NTSC / 25 for frame in range(day, day + 100)]
    assert [avatar_frame(day + n, Fraction(25), NTSC, 10**9) for n in range(100)] == [
        int(step + Fraction(1, 2)) for step in steps
    ]


def test_a_still_has_one_frame() -> None:
    assert {avatar_frame(frame, Fraction(25), None, 1) for frame in range(100)} == {0}


def test_an_avatar_at_half_its_size_has_its_face_at_half_its_place() -> None:
    face = describe_portrait("nora").landmarks
    image = np.random.default_rng(0).integers(0, 255, (1024, 1024, 3), dtype=np.uint8)
    avatar = Avatar("nora", StillFrames(image), None, (face,))
    half = avatar.resized(512)
    assert (half.width, half.height) == (512, 512)
    assert half.frames.read([0])[0].shape == (768, 512)
    # A pixel's area is what is resized: the image's edge stands half a pixel before its first centre.
    np.testing.assert_allclose(half.landmarks[0].oval, (face.oval + 0.5) / 2 - 0.5, rtol=1e-6)
    assert avatar.resized(1024) is avatar


def test_parts_that_do_not_fit_are_refused() -> None:
    face = describe_portrait("nora").landmarks
    frames = StillFrames(np.zeros((64, 64, 3), dtype=np.uint8))
    with pytest.raises(AvatarError, match="1 frames and 2 faces"):
        Avatar("odd", frames, Fraction(25), (face, face))
