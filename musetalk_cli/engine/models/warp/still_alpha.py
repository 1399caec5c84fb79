"""The alpha of a still whose head sways: it is warped as the image is."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from musetalk_cli.engine.avatar.avatar import Avatar
from musetalk_cli.engine.avatar.frames import StillFrames
from musetalk_cli.engine.models.warp.audio.mouth_net import OUTPUTS
from musetalk_cli.engine.models.warp.idle.life import LifeState
from musetalk_cli.engine.models.warp.still_avatar import StillAvatarRenderer
from musetalk_cli.engine.types.colour import ByteArray, as_bytes
from musetalk_cli.errors import AvatarError

# The face is whole within so much of its outline: what is drawn there changes no alpha.
INNER = 0.85
BLACK_LUMA, WHITE_LUMA = 16, 235


class StillAlpha:
    """Immutable after construction; ``at`` is pure and thread-safe."""

    def __init__(self, avatar: Avatar, *, height_px: int) -> None:
        """Prepare it.

        Args:
            avatar: A still with alpha, in its own size.
            height_px: Height of the output.

        Raises:
            AvatarError: The avatar has no alpha.
        """
        if avatar.alphas is None:
            raise AvatarError(f"avatar '{avatar.name}' is not transparent")
        shown = avatar.resized(height_px)
        alpha = avatar.alphas.read([0])[0]
        drawn = replace(avatar, frames=StillFrames(as_bytes(cv2.merge([alpha] * 3))), alphas=None, eyelids=None)
        # The same renderer, so that it moves alike: it is given alpha for an image, and a mouth at rest.
        self._renderer = StillAvatarRenderer(drawn, height_px=height_px, has_idle_motion=True)
        self._mouth = np.zeros(len(OUTPUTS), np.float32)
        assert shown.alphas is not None  # noqa: S101 - as the avatar's
        self._still = shown.alphas.read([0])[0]
        outline = shown.landmarks[0].oval
        inner = (outline.mean(axis=0) + (outline - outline.mean(axis=0)) * INNER).astype(np.int32)
        self._inner = as_bytes(cv2.fillPoly(np.zeros_like(self._still), [inner], 255))
        levels = (np.arange(256) - BLACK_LUMA) * 255 / (WHITE_LUMA - BLACK_LUMA)
        self._levels = np.rint(levels.clip(0, 255)).astype(np.uint8)

    def at(self, life: LifeState) -> ByteArray:
        """Alpha uint8 (height, width) of a frame whose face was rendered with ``life``."""
        # The head alone: lids and gaze stay within the face.
        life = replace(life, left_lid=0.0, right_lid=0.0, gaze_x=0.0, gaze_y=0.0, brows=0.0)
        face = self._renderer.render(self._mouth, life)
        left, top, width, height = face.region
        part = (slice(top, top + height), slice(left, left + width))
        alpha = as_bytes(self._still.copy())
        alpha[part] = np.maximum(self._levels[face.planes.luma], self._inner[part])
        return alpha
