"""Where the two small face nets come from: a path, the cache, an installed mediapipe, or one pinned download."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FaceModels:
    """The two TFLite files: the short-range face ``detector`` and the 468-point ``mesh``."""

    detector: Path
    mesh: Path


def find_face_models(given: Path | None, cache: Path, say: Callable[[str], None]) -> FaceModels:
    """Find the two files, or fetch them once into ``cache`` (a folder, made when missing).

    Looks at ``given`` (a folder that holds both), then at the folder named by MUSETALK_FACE_MODELS, the cache and an
    installed mediapipe; then downloads with pip, telling ``say`` in whole lines. Every file is checked by its sha256.
    Raises AvatarError when a given folder lacks a file, a file is not the expected one, or nothing could be fetched.
    """
    raise NotImplementedError
