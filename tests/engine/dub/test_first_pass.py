"""The first pass over a clip: faces are followed in smaller frames, and stored in pixels of the clip's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fixtures.clips import moved_portrait, write_clip
from musetalk_cli.engine.avatar.visibility import Area, Visibility
from musetalk_cli.engine.dub import first_pass
from musetalk_cli.engine.dub.clip import open_clip

NUM_FRAMES, SIDE, TIMES = 4, 96, 3


def test_points_are_where_they_were_in_the_smaller_frames(
    ffmpeg: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The middle of a pixel becomes the middle of the pixels that it stands for."""
    path = write_clip(ffmpeg, tmp_path / "clip.mp4", [moved_portrait(frame, SIDE) for frame in range(NUM_FRAMES)])
    small = np.random.default_rng(0).integers(4, 20, (NUM_FRAMES, 468, 2)).astype(np.float32)
    side = SIDE // TIMES
    whole = Visibility(np.ones(NUM_FRAMES, np.float32), np.arange(NUM_FRAMES) == 0, Area.whole(side, side))

    def track(images: first_pass._Counted, *others: object) -> tuple[np.ndarray, Visibility]:
        assert [image.shape for image in images] == [(side, side, 3)] * NUM_FRAMES
        return small, whole

    monkeypatch.setattr(first_pass, "TRACKED_HEIGHT_PX", side)
    monkeypatch.setattr(first_pass, "_track", track)
    folder = tmp_path / "pass"
    folder.mkdir()
    first_pass.track_clip(open_clip(path, ffmpeg), ffmpeg, None, None, folder, lambda done: None)  # type: ignore[arg-type]
    tracked = first_pass.load_tracked(folder)
    assert tracked is not None
    points, visibility = tracked.read(tracked.parts[0])
    np.testing.assert_allclose(points, small * TIMES + (TIMES - 1) / 2, atol=1e-4)
    assert visibility.area == Area.whole(SIDE, SIDE)
