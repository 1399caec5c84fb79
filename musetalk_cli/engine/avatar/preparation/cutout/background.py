"""What is behind the person: the input's own background, nothing, a colour, or an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from musetalk_cli.engine.avatar.inputs.clip import WHITE
from musetalk_cli.engine.avatar.inputs.images import read_image
from musetalk_cli.engine.runtime.files import hash_file
from musetalk_cli.engine.types.colour import ByteArray, as_bytes
from musetalk_cli.errors import AvatarError, system_words

TRANSPARENT = "transparent"


@dataclass(frozen=True)
class Background:
    """One of four: ``is_kept``, the input's own, with white behind its transparent parts; ``is_transparent``; the file
    of an ``image``; or a ``colour``, red, green and blue."""

    colour: tuple[int, int, int] = WHITE
    image: Path | None = None
    is_kept: bool = False
    is_transparent: bool = False

    @classmethod
    def parse(cls, text: str) -> Background:
        """From a setting: keep, transparent, #rrggbb, or the name of an image file."""
        if text in ("keep", TRANSPARENT):
            return cls(is_kept=text != TRANSPARENT, is_transparent=text == TRANSPARENT)
        if text.startswith("#"):
            red, green, blue = bytes.fromhex(text[1:])
            return cls((red, green, blue))
        return cls(image=Path(text).expanduser())

    def as_parameters(self) -> Mapping[str, str]:
        """What decides how an avatar comes out, for its record. Raises AvatarError when the image cannot be read."""
        if self.is_kept:
            return {"background": "#ffffff"}  # as it was called when there was no other
        if self.is_transparent:
            return {"background": TRANSPARENT}
        if self.image is None:
            return {"background": "cut out on #{:02x}{:02x}{:02x}".format(*self.colour)}
        try:
            return {"background": f"cut out on an image, {hash_file(self.image)[:16]}"}
        except OSError as error:
            raise AvatarError(f"cannot read the background {self.image}: {system_words(error)}") from error

    def pixels(self, width: int, height: int) -> ByteArray:
        """It as uint8 BGR (height, width, 3); an image fills the frame, and what is beyond its shape is cut off on both
        sides. Raises AvatarError when the image cannot be read."""
        if self.image is None:
            return np.full((height, width, 3), self.colour[::-1], np.uint8)
        image = read_image(self.image)
        factor = max(width / image.shape[1], height / image.shape[0])
        size = max(width, round(image.shape[1] * factor)), max(height, round(image.shape[0] * factor))
        how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        image = as_bytes(cv2.resize(image, size, interpolation=how))
        left, top = (size[0] - width) // 2, (size[1] - height) // 2
        return np.ascontiguousarray(image[top : top + height, left : left + width])


KEPT = Background(is_kept=True)
