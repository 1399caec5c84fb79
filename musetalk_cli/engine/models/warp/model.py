"""The warp model: a small net hears mouth shapes, and the avatar's own face is warped to them."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np

from musetalk_cli.engine.avatar.portrait import Portrait
from musetalk_cli.engine.colour import planes_to_i420
from musetalk_cli.engine.messages import AudioBlock, ByteArray, FaceBatch, FeatureBatch, FloatArray
from musetalk_cli.engine.models.warp.face import WarpFace
from musetalk_cli.engine.models.warp.mouth import MouthReader


class WarpModel:
    """LipSyncModel on the CPU; features are mouth shapes, float32 (n, 5): gap, jaw, width, closure, labiodental."""

    before_s = MouthReader.before_s
    after_s = MouthReader.after_s

    def __init__(self, portrait: Portrait, frame_rate: Fraction, height_px: int, *, life: bool, seed: int) -> None:
        self._frame_rate = frame_rate
        self._reader = MouthReader.load()
        self._face = WarpFace(
            portrait.picture, portrait.landmarks, portrait.lids, height_px=height_px, life=life, seed=seed
        )
        self.resting: ByteArray = planes_to_i420(self._face.base)

    def features(self, block: AudioBlock) -> FloatArray:
        times_s = np.array([float(frame / self._frame_rate) for frame in block.frames], dtype=np.float64)
        return self._reader.read(block.samples, block.start_s, times_s, frame_s=float(1 / self._frame_rate))

    def make_faces(self, batch: FeatureBatch) -> FaceBatch:
        faces = tuple(
            self._face.render(mouth, float(frame / self._frame_rate))
            for mouth, frame in zip(batch.features, batch.frames, strict=True)
        )
        return FaceBatch(faces, self._face.region, batch.frames, batch.sound)

    def make_idle(self, batch: FeatureBatch) -> FaceBatch:
        return self.make_faces(replace(batch, features=np.zeros_like(batch.features)))
