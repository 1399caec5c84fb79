"""A block of audio → what every frame hears, and how much of it speaks at all."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from musetalk_cli.engine.models.musetalk.audio.silence import SilenceGate, count_silent
from musetalk_cli.engine.models.musetalk.audio.windows import (
    STEPS_PER_FRAME,
    AnchoredFeatures,
    Listener,
    UpstreamFeatures,
)
from musetalk_cli.engine.types.messages import AudioBlock, FloatArray


class Hearing:
    """Features with the silence gate's weight as their last column. One thread asks, block after block.

    ``gate`` None weighs every frame with 1. ``follows_upstream`` needs 30 s of audio behind a block: for files only.
    """

    def __init__(
        self, listener: Listener, frame_rate: Fraction, gate: SilenceGate | None, *, follows_upstream: bool = False
    ) -> None:
        scheme = UpstreamFeatures if follows_upstream else AnchoredFeatures
        self._listener = listener
        self._scheme = scheme(listener, frame_rate)
        self._follows_upstream = follows_upstream
        self._gate = gate
        self._frame_rate = frame_rate
        self._dim = STEPS_PER_FRAME * listener.step_dim
        self.before_s = max(self._scheme.before_s, gate.before_s if gate else 0.0)
        self.after_s = max(self._scheme.after_s, gate.after_s if gate else 0.0)
        self.num_silent = 0  # frames that needed no network so far

    def features(self, block: AudioBlock) -> FloatArray:
        """float32 (len(block.frames), 10 · levels · dim + 1)."""
        weights = self._weigh(block)
        self.num_silent += count_silent(weights)
        heard = self._scheme.features(block) if weights.any() else np.zeros((len(weights), self._dim), np.float32)
        return np.concatenate([heard, weights[:, None]], axis=1)

    def clone_for(self) -> Hearing:
        """The same for another stream."""
        return Hearing(self._listener, self._frame_rate, self._gate, follows_upstream=self._follows_upstream)

    def warm_up(self) -> None:
        """Do beforehand what the first block would wait for. Raises torch.OutOfMemoryError."""
        self._listener.listen(np.zeros(0, np.float32))

    def _weigh(self, block: AudioBlock) -> FloatArray:
        if self._gate is None:
            return np.ones(len(block.frames), np.float32)
        times_s = np.array([float(frame / self._frame_rate) for frame in block.frames], np.float64)
        return self._gate.weigh(block.samples, block.start_s, times_s)
