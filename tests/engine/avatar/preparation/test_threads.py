"""A preparation that fails leaves no thread behind that still writes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from musetalk_cli.engine.avatar.preparation import stored_clip
from musetalk_cli.engine.avatar.preparation.settings import PreparationSettings, PreparationTools
from musetalk_cli.engine.types.colour import ByteArray
from musetalk_cli.engine.types.planar_frame import PlanarFrame


class Frames:
    """Many small frames."""

    num_frames, decode_error = 50, ""

    def __iter__(self) -> Iterator[ByteArray]:
        for level in range(self.num_frames):
            yield np.full((96, 64), level, np.uint8)

    def close(self) -> None:
        pass


class Writer:
    """Fails a frame that comes behind its end."""

    is_open = False
    late = 0

    def __init__(self, path: Path, *, is_lossless: bool) -> None:
        pass

    def __enter__(self) -> Writer:
        Writer.is_open = True
        return self

    def __exit__(self, *error: object) -> None:
        Writer.is_open = False

    def write(self, image: ByteArray) -> None:
        Writer.late += not Writer.is_open


def test_nothing_is_written_behind_the_writers_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def follow(images: Iterator[PlanarFrame], *others: object, **options: object) -> None:
        next(images)
        raise RuntimeError("the face is lost")

    monkeypatch.setattr(stored_clip, "open_frames", lambda *others: Frames())
    monkeypatch.setattr(stored_clip, "is_still", lambda source: False)
    monkeypatch.setattr(stored_clip, "FrameStoreWriter", Writer)
    monkeypatch.setattr(stored_clip, "track_face", follow)
    nothing: Any = lambda *others: None  # noqa: E731
    tools = PreparationTools(nothing, nothing, "ffmpeg")
    with pytest.raises(RuntimeError, match="the face is lost"):
        stored_clip.store_clip(tmp_path / "a.mp4", tmp_path, PreparationSettings(), tools, nothing)
    assert Writer.late == 0 and not Writer.is_open
    assert not [each for each in threading.enumerate() if each.name.startswith("musetalk-")]
