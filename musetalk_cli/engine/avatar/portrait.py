"""The built-in avatars: drawn portraits that ship with the package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

import musetalk_cli
from musetalk_cli.engine.avatar.avatar import Avatar, Eyelids
from musetalk_cli.engine.avatar.frames import StillFrames
from musetalk_cli.engine.avatar.landmarks import Landmarks
from musetalk_cli.engine.types.colour import ByteArray
from musetalk_cli.errors import AvatarError, system_words
from musetalk_cli.hints import suggest

FORMAT = 1


class Portrait(NamedTuple):
    """A still face: ``image`` uint8 BGR (h, w, 3), its landmarks in pixels, its eyelids drawn for blinks."""

    name: str
    image: ByteArray
    landmarks: Landmarks
    eyelids: Eyelids


def portrait_names() -> list[str]:
    """Names of the portraits that ship."""
    return sorted(path.stem for path in _folder().glob("*.json"))


def check_portrait_name(name: str) -> None:
    """Raise AvatarError, naming the nearest, when no portrait has this name."""
    names = portrait_names()
    if name not in names:
        hint = suggest(name, names, f"built-in avatars: {', '.join(names)}")
        raise AvatarError(f"there is no avatar '{name}'", hint=hint)


class PortraitDescription(NamedTuple):
    """What is known of a portrait before its images are read; ``width`` and ``height`` in pixels."""

    name: str
    width: int
    height: int
    landmarks: Landmarks
    lid_box: tuple[int, int, int, int]
    lid_levels: tuple[float, ...]


def describe_portrait(name: str) -> PortraitDescription:
    """Read a built-in portrait's JSON. Raises AvatarError when the name is unknown or the file is damaged."""
    check_portrait_name(name)
    try:
        record = json.loads(_folder().joinpath(f"{name}.json").read_text(encoding="utf-8"))
        if record["format"] != FORMAT:
            raise AvatarError(f"portrait '{name}' has format {record['format']}, not {FORMAT}")
        landmarks, lids = Landmarks.from_mapping(record["landmarks"]), record["lids"]
        width, height = (int(value) for value in record["size"])
        return PortraitDescription(name, width, height, landmarks, tuple(lids["box"]), tuple(lids["levels"]))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise AvatarError(
            f"portrait '{name}' is damaged: {system_words(error)}", hint="install musetalk again"
        ) from error


def load_portrait(description: PortraitDescription) -> Portrait:
    """Read a portrait's images. Raises AvatarError when they are damaged or are not what was described."""
    name, levels = description.name, description.lid_levels
    image, strip = _read_image(f"{name}.png"), _read_image(f"{name}-lids.png")
    if image.shape != (description.height, description.width, 3) or len(strip) % max(1, len(levels)):
        raise AvatarError(
            f"the images of portrait '{name}' are not what {name}.json says", hint="install musetalk again"
        )
    lids = Eyelids(description.lid_box, levels, np.stack(np.split(strip, len(levels))))
    return Portrait(name, image, description.landmarks, lids)


def open_portrait(description: PortraitDescription) -> Avatar:
    """A portrait as an avatar: a still with drawn lids. Raises AvatarError."""
    portrait = load_portrait(description)
    return Avatar(portrait.name, StillFrames(portrait.image), None, (portrait.landmarks,), portrait.eyelids)


def _folder() -> Path:
    return Path(musetalk_cli.__file__).parent / "assets" / "portraits"


def _read_image(file_name: str) -> ByteArray:
    try:
        data = _folder().joinpath(file_name).read_bytes()
    except OSError as error:
        problem = f"{file_name} cannot be read: {system_words(error)}"
        raise AvatarError(problem, hint="install musetalk again") from error
    image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR) if data else None
    if image is None:
        raise AvatarError(f"{file_name} is not an image", hint="install musetalk again")
    return np.asarray(image, dtype=np.uint8)
