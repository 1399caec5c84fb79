"""The built-in avatars: drawn portraits that ship with the package."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

import musetalk_cli
from musetalk_cli.engine.avatar.landmarks import Landmarks
from musetalk_cli.engine.avatar.lids import Lids
from musetalk_cli.engine.colour import ByteArray
from musetalk_cli.errors import AvatarError

FORMAT = 1


@dataclass(frozen=True)
class Portrait:
    """A still face: ``picture`` uint8 BGR (h, w, 3), its landmarks in pixels, its eyelids repainted for blinks."""

    name: str
    picture: ByteArray
    landmarks: Landmarks
    lids: Lids


def portrait_names() -> list[str]:
    """Names of the portraits that ship."""
    return sorted(path.stem for path in _folder().glob("*.json"))


def check_portrait_name(name: str) -> None:
    """Raise AvatarError, naming the nearest, when no portrait has this name."""
    names = portrait_names()
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"built-in avatars: {', '.join(names)}"
        raise AvatarError(f"there is no avatar '{name}'", hint=hint)


def load_portrait(name: str) -> Portrait:
    """Read a built-in portrait. Raises AvatarError when the name is unknown or its files are damaged."""
    check_portrait_name(name)
    try:
        description = json.loads(_folder().joinpath(f"{name}.json").read_text(encoding="utf-8"))
        if description["format"] != FORMAT:
            raise AvatarError(f"portrait '{name}' has format {description['format']}, not {FORMAT}")
        lids = description["lids"]
        strip = _read_picture(f"{name}-lids.png")
        pictures = np.stack(np.split(strip, len(lids["levels"])))
        return Portrait(
            name,
            _read_picture(f"{name}.png"),
            Landmarks.from_mapping(description["landmarks"]),
            Lids(tuple(lids["box"]), tuple(lids["levels"]), pictures),
        )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise AvatarError(f"portrait '{name}' is damaged: {error}", hint="install musetalk again") from error


def _folder() -> Path:
    return Path(musetalk_cli.__file__).parent / "assets" / "portraits"


def _read_picture(file_name: str) -> ByteArray:
    data = np.frombuffer(_folder().joinpath(file_name).read_bytes(), dtype=np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
    if picture is None:
        raise AvatarError(f"{file_name} is not a picture", hint="install musetalk again")
    return np.asarray(picture, dtype=np.uint8)
