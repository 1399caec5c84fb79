"""A preparation that fails leaves no thread behind that still writes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from musetalk_cli.engine.avatar.inputs.clip import ClipSettings
from musetalk_cli.engine.avatar.preparation import prepare
from musetalk_cli.engine.types.colour import ByteArray


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


def test_what_is_converted_ahead_ends_before_the_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def follow(images: Iterator[ByteArray], *others: object, **options: object) -> None:
        next(images)
        raise RuntimeError("the face is lost")

    monkeypatch.setattr(prepare, "_open", lambda *others: Frames())
    monkeypatch.setattr(prepare, "FrameStoreWriter", Writer)
    monkeypatch.setattr(prepare, "track_face", follow)
    nothing: Any = lambda *others: None  # noqa: E731
    with pytest.raises(RuntimeError, match="the face is lost"):
        prepare._take_video(
            tmp_path / "a.mp4",
            tmp_path,
            ClipSettings(Fraction(25)),
            prepare.PreparationSettings(),
            nothing,
            nothing,
            "ffmpeg",
            nothing,
        )
    assert Writer.late == 0
    assert not [each for each in threading.enumerate() if each.name.startswith("musetalk-convert")]
