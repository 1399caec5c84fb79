"""The warp model: a small net hears mouth shapes, and the avatar's own face is warped to them."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from musetalk_cli.engine.avatar.avatar import Avatar
from musetalk_cli.engine.models.warp.audio.mouth import MouthReader
from musetalk_cli.engine.models.warp.still import StillFace
from musetalk_cli.engine.types.messages import AudioBlock, Face, FaceBatch, FeatureBatch, FloatArray

if TYPE_CHECKING:
    from musetalk_cli.engine.models.warp.moving import MovingFace


class WarpModel:
    """LipSyncModel on the CPU; features are mouth shapes, float32 (n, 5): gap, jaw, width, closure, labiodental."""

    name = "warp"
    num_silent = 0  # its mouth is made in silence too
    before_s = MouthReader.before_s
    after_s = MouthReader.after_s

    def __init__(self, avatar: Avatar, frame_rate: Fraction, height_px: int, *, life: bool, seed: int) -> None:
        """``avatar`` in its own size; faces are made for its frames resized to ``height_px``.

        ``life`` (blinks and sway, chosen by ``seed``) is for stills: a video has its own. Raises AvatarError or
        ModelError.
        """
        self._frame_rate = frame_rate
        self._reader = MouthReader.load()
        self._face: StillFace | MovingFace
        if avatar.is_still:
            self._face = StillFace(avatar, height_px=height_px, life=life, seed=seed)
        else:
            from musetalk_cli.engine.models.warp.moving import MovingFace

            self._face = MovingFace(avatar.resized(height_px))

    def features(self, block: AudioBlock) -> FloatArray:
        times_s = np.array([float(frame / self._frame_rate) for frame in block.frames], dtype=np.float64)
        return self._reader.read(block.samples, block.start_s, times_s, frame_s=float(1 / self._frame_rate))

    def make_faces(self, batch: FeatureBatch) -> FaceBatch:
        faces = tuple(self._make_face(batch, row) for row in range(len(batch.frames)))
        return FaceBatch(faces, batch.images, batch.frames, batch.audio)

    def make_idle(self, batch: FeatureBatch) -> FaceBatch:
        if isinstance(self._face, StillFace):
            return self.make_faces(replace(batch, features=np.zeros_like(batch.features)))
        # In a video, a closed mouth takes as long as any other.
        return FaceBatch((), batch.images, batch.frames, batch.audio)

    def _make_face(self, batch: FeatureBatch, row: int) -> Face:
        if isinstance(self._face, StillFace):
            return self._face.render(batch.features[row], float(batch.frames[row] / self._frame_rate))
        return self._face.render(batch.features[row], batch.avatar_frames[row], batch.images[row])
