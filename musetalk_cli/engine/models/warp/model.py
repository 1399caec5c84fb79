"""The warp model: audio → mouth shapes and cues float32 (frames, 9) → the avatar's own face, warped to them.

A small convolutional net predicts the mouth shapes; image warping makes the face. Both run on the CPU.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from musetalk_cli.engine.avatar.avatar import Avatar
from musetalk_cli.engine.models.warp.audio.mouth_shapes import MouthShapePredictor, express
from musetalk_cli.engine.models.warp.idle.eye_states import NUM_EYE_STATES
from musetalk_cli.engine.models.warp.idle.idle_motion import life_at
from musetalk_cli.engine.models.warp.idle.life import LifeState
from musetalk_cli.engine.models.warp.idle.speech_cues import NUM_CUES, speech_cues
from musetalk_cli.engine.models.warp.still_avatar import StillAvatarRenderer
from musetalk_cli.engine.types.audio import SHORT_LOW_PASS
from musetalk_cli.engine.types.messages import AudioBlock, Face, FaceBatch, FeatureBatch, FloatArray

if TYPE_CHECKING:
    from musetalk_cli.engine.models.warp.video_avatar import VideoAvatarRenderer

NUM_SHAPES = 6
# A voice of 5 s has some 20 states of the eyes, and one of 15 s 60.
MANY_EYE_STATES = 64


class WarpModel:
    """The LipSyncModel that warps; its features are mouth shapes and what the voice makes a head do, float32 (n, 9).

    Columns O, J, W, P, F, T: lip gap, jaw, width, lips pressed together (p, b, m), lower lip under the teeth (f, v),
    tongue's tip (l, n, t, d, th); then a nod, raised brows and the closure of the lids.
    """

    name = "warp"
    num_features = NUM_SHAPES + NUM_CUES
    num_silent = 0  # it makes a face for silent frames too
    before_s = MouthShapePredictor.before_s
    low_pass = SHORT_LOW_PASS
    after_s = MouthShapePredictor.after_s

    def __init__(
        self,
        avatar: Avatar,
        frame_rate: Fraction,
        height_px: int,
        *,
        liveliness: float,
        seed: int,
        expression: float = 1.0,
        starts_often: bool = False,
    ) -> None:
        """Prepare the avatar's face.

        Args:
            avatar: A still image or a video, in its own size.
            frame_rate: Output frames per second.
            height_px: Height of the output; faces are made for the avatar's frames resized to it.
            liveliness: How far the head of a still moves, 0..1.5; at 0 it does not blink, either. A video has its own
                motion.
            seed: Chooses the times of blinks and the course of the head.
            expression: How far the mouth moves, 0.5 … 1.5; 1 is as far as people's.
            starts_often: Whether it makes many streams, whose first seconds show the same blinks: these stay drawn.

        Raises:
            AvatarError: The avatar's frames cannot be read.
            ModelError: The net's weights are damaged.
        """
        self._frame_rate = frame_rate
        self._expression = expression
        self._predictor = MouthShapePredictor.load()
        self._face: StillAvatarRenderer | VideoAvatarRenderer
        self._seed, self._liveliness = seed, 0.0
        if avatar.is_still:
            self._face = StillAvatarRenderer(
                avatar,
                height_px=height_px,
                has_idle_motion=liveliness > 0,
                num_eye_states=MANY_EYE_STATES if starts_often else NUM_EYE_STATES,
            )
            self._liveliness = liveliness
        else:
            from musetalk_cli.engine.models.warp.video_avatar import VideoAvatarRenderer

            self._face = VideoAvatarRenderer(avatar.resized(height_px))

    def features(self, block: AudioBlock) -> FloatArray:
        times_s = np.array([float(frame / self._frame_rate) for frame in block.frames], dtype=np.float64)
        shapes = self._predictor.predict(block.samples, block.start_s, times_s, frame_s=float(1 / self._frame_rate))
        if self._liveliness:
            cues = speech_cues(block.samples, block.start_s, times_s, self._seed)
        else:
            cues = np.zeros((len(times_s), NUM_CUES), np.float32)
        return np.concatenate([express(shapes, self._expression), cues], axis=1)

    def look_ahead_s(self, block_s: float) -> float:
        return self._predictor.look_ahead_s(block_s, float(1 / self._frame_rate))

    def make_faces(self, batch: FeatureBatch) -> FaceBatch:
        if batch.images and isinstance(self._face, StillAvatarRenderer) and self._face.draws_frames:
            lives = [self.life_of(*each) for each in zip(batch.features, batch.frames, strict=True)]
            images = self._face.draw(batch.features[:, :NUM_SHAPES], lives, batch.images)
            return FaceBatch((), images, batch.frames, batch.audio)
        faces = tuple(self._make_face(batch, row) for row in range(len(batch.frames)))
        return FaceBatch(faces, batch.images, batch.frames, batch.audio)

    def close_mouth(self, features: FloatArray, num_frames: int) -> FloatArray:
        shares = 1.0 - np.arange(1, num_frames + 1, dtype=np.float32) / num_frames
        return np.asarray(shares[:, None] * features, np.float32)

    def clone(self, *, shares_batches: bool = False) -> WarpModel:
        return self  # it keeps nothing of a stream

    def make_idle(self, batch: FeatureBatch) -> FaceBatch:
        if isinstance(self._face, StillAvatarRenderer):
            return self.make_faces(replace(batch, features=np.zeros_like(batch.features)))
        # For a video, a closed mouth takes as long to make as any other.
        return FaceBatch((), batch.images, batch.frames, batch.audio)

    def life_of(self, features: FloatArray, frame: int) -> LifeState:
        """What a still does besides speaking in a frame of the output whose features are float32 (d,)."""
        cues = features[NUM_SHAPES:].tolist()
        rate = self._frame_rate
        time_s = frame * rate.denominator / rate.numerator  # a fraction's division takes ten times as long
        return life_at(self._seed, time_s, self._liveliness, cues)

    def _make_face(self, batch: FeatureBatch, row: int) -> Face:
        features = batch.features[row]
        if isinstance(self._face, StillAvatarRenderer):
            return self._face.render(features[:NUM_SHAPES], self.life_of(features, batch.frames[row]))
        return self._face.render(features[:NUM_SHAPES], batch.avatar_frames[row], batch.images[row])
