"""A block of audio → the features of each frame, and its weight: how much of it is speech."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from musetalk_cli.engine.models.musetalk.audio.silence import SilenceGate, count_silent
from musetalk_cli.engine.models.musetalk.audio.windows import (
    STEPS_PER_FRAME,
    AnchoredFeatures,
    FeatureEncoder,
    UpstreamFeatures,
)
from musetalk_cli.engine.types.messages import AudioBlock, FloatArray


class AudioFeatureExtractor:
    """Features with the silence gate's weight as their last column. One thread calls it, block after block."""

    def __init__(
        self, encoder: FeatureEncoder, frame_rate: Fraction, gate: SilenceGate | None, *, follows_upstream: bool = False
    ) -> None:
        """``gate`` None gives every frame weight 1. ``follows_upstream`` takes windows as the official script does,
        which needs 30 s of audio behind a block: for files only."""
        scheme = UpstreamFeatures if follows_upstream else AnchoredFeatures
        self._encoder = encoder
        self._scheme = scheme(encoder, frame_rate)
        self._follows_upstream = follows_upstream
        self._gate = gate
        self._frame_rate = frame_rate
        self._dim = STEPS_PER_FRAME * encoder.step_dim
        self.before_s = max(self._scheme.before_s, gate.before_s if gate else 0.0)
        self.after_s = max(self._scheme.after_s, gate.after_s if gate else 0.0)
        self.num_silent = 0  # frames that needed no network so far

    def features(self, block: AudioBlock) -> FloatArray:
        """float32 (len(block.frames), 10 · levels · dim + 1)."""
        weights = self._weigh(block)
        self.num_silent += count_silent(weights)
        features = self._scheme.features(block) if weights.any() else np.zeros((len(weights), self._dim), np.float32)
        return np.concatenate([features, weights[:, None]], axis=1)

    def clone(self) -> AudioFeatureExtractor:
        """An extractor for another stream, with the same encoder."""
        return AudioFeatureExtractor(
            self._encoder, self._frame_rate, self._gate, follows_upstream=self._follows_upstream
        )

    def warm_up(self) -> None:
        """Run the encoder once, as its first call is slow. Raises torch.OutOfMemoryError."""
        self._encoder.encode(np.zeros(0, np.float32))

    def _weigh(self, block: AudioBlock) -> FloatArray:
        if self._gate is None:
            return np.ones(len(block.frames), np.float32)
        times_s = np.array([float(frame / self._frame_rate) for frame in block.frames], np.float64)
        return self._gate.weigh(block.samples, block.start_s, times_s)
