"""Which frames of an avatar a preview shows."""

from __future__ import annotations

from musetalk_cli.app.avatars.preview import NUM_ROWS, choose_frames


def test_frames_without_a_face_are_not_shown() -> None:
    assert choose_frames([0.0] * 10 + [0.5] + [1.0] * 7) == [11, 13, 15, 17]


def test_a_short_video_and_a_still_are_shown_whole() -> None:
    assert choose_frames([1.0]) == [0]
    assert choose_frames([1.0, 1.0]) == [0, 1]
    assert len(choose_frames([1.0] * 100)) == NUM_ROWS
    assert choose_frames([0.5, 0.5]) == [0, 1]
