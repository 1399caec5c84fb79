"""Which audio each frame hears, and how: the features of MuseTalk, the same for a file and for a live stream.

A frame hears ten steps of Whisper's encoder (20 ms each), all five levels of each: four steps before its own, its own
two at 25 frames per second, four after. Whisper hears windows of 30 s and is not causal, so *which* window a step is
taken from matters. Two schemes:

``AnchoredFeatures`` is used for files and streams alike. The windows stand at fixed places of the stream, every 10 s;
a frame is heard at its true place in one of them, with the real audio before it and silence for what has not been heard
yet. In another window it has another place, which Whisper's levels tell: from each window to the next, some frames are
heard in both and cross-faded. A block's features depend on the block alone, so cutting the input differently
changes nothing, not even a bit.

``UpstreamFeatures`` does what the official scripts do: windows of 30 s side by side, each heard whole, that is with up
to 30 s of the future, and its frame windows. For comparison with images made by them.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.types.messages import AUDIO_RATE_HZ, MODEL_RATE_HZ, AudioBlock, FloatArray

STEP_HZ = 50
STEPS_PER_FRAME = 10
STEPS_BEFORE = 4
SAMPLES_PER_STEP = MODEL_RATE_HZ // STEP_HZ

StepArray = NDArray[np.int64]


class Listener(Protocol):
    """Whisper, with everything around it."""

    window_s: int
    step_dim: int  # levels · dim
    clamps_ends: bool

    def listen(self, samples: FloatArray) -> FloatArray:
        """At most ``window_s`` of audio, 16 kHz, what is missing taken as not heard → (steps, levels, dim)."""


def frame_steps(frames: range, frame_rate: Fraction) -> StepArray:
    """The ten steps that each frame hears, (len(frames), 10); negative ones lie in front of the stream.

    The frame's own first step is the one in which it begins. At 25 frames per second this is upstream's rule; below,
    upstream shifts the window to the past by up to 120 ms, which is not followed.
    """
    first = [math.floor(frame * STEP_HZ / frame_rate) - STEPS_BEFORE for frame in frames]
    return np.array(first, np.int64).reshape(-1, 1) + np.arange(STEPS_PER_FRAME)


def upstream_frame_steps(frames: range, frame_rate: Fraction) -> StepArray:
    """The same by upstream's rule, with its whole-numbered rate and its floating-point rounding."""
    rate = int(frame_rate)
    steps_per_frame = STEP_HZ / rate
    before = 2 * math.ceil(steps_per_frame)
    first = [math.floor(frame * steps_per_frame) - before for frame in frames]
    return np.array(first, np.int64).reshape(-1, 1) + np.arange(STEPS_PER_FRAME)


def gather(levels: FloatArray, first_step: int, steps: StepArray, num_steps: int | None, *, clamps: bool) -> FloatArray:
    """Pick the steps of every frame: (frames, 10 · levels · dim), step by step, in each all levels.

    ``levels`` (n, levels, dim) begins with the stream's step ``first_step``; ``num_steps`` is the stream's length where
    it is known. Steps outside the stream are zero (MuseTalk 1.5) or, with ``clamps``, the nearest inside (1.0).
    """
    end = first_step + len(levels) if num_steps is None else num_steps
    inside = np.clip(steps, 0, max(0, end - 1))
    picked = levels[inside - first_step]
    if not clamps:
        picked[(steps < 0) | (steps >= end)] = 0.0
    return picked.reshape(len(steps), -1)


def count_steps(block: AudioBlock) -> int | None:
    """Whole steps in the stream, where its end is known."""
    return None if block.audio_end is None else block.audio_end * STEP_HZ // AUDIO_RATE_HZ


def cut_samples(block: AudioBlock, start_s: int, stop_s: int) -> FloatArray:
    """What is there of the stream from ``start_s`` to ``stop_s``: as far as the block reaches, without its padding."""
    first = round(block.start_s * MODEL_RATE_HZ)
    end = first + len(block.samples)
    if block.audio_end is not None:
        end = min(end, -(-block.audio_end * MODEL_RATE_HZ // AUDIO_RATE_HZ))
    return block.samples[start_s * MODEL_RATE_HZ - first : min(stop_s * MODEL_RATE_HZ, end) - first]


class AnchoredFeatures:
    """See above. ``features`` is a pure function of the block."""

    # The last step of a block's last frame begins at most four steps behind it, and a step hears 32.5 ms further.
    after_s = 0.12

    def __init__(self, listener: Listener, frame_rate: Fraction) -> None:
        self._listener = listener
        self._frame_rate = frame_rate
        self._slide_s = listener.window_s // 3
        # The last 2 of 30 s are left to the next window: most of a block's future is in there. Before that, 0.4 s are
        # enough for a change that is no larger than others, and few for a mix of two windows, which is a little flat.
        self._fade_s = Fraction(listener.window_s, 75)
        self._fade_start_s = Fraction(14 * listener.window_s, 15) - self._fade_s
        self.before_s = float(listener.window_s)

    def features(self, block: AudioBlock) -> FloatArray:
        """float32 (len(block.frames), 10 · levels · dim)."""
        steps = frame_steps(block.frames, self._frame_rate)
        total = np.zeros((len(steps), STEPS_PER_FRAME * self._listener.step_dim), np.float32)
        if not len(steps):
            return total
        places = np.array([self._window_place(frame / self._frame_rate) for frame in block.frames])
        for window in range(int(places[0]), math.ceil(places[-1]) + 1):
            shares = (1 - np.abs(places - window)).astype(np.float32)
            rows = np.flatnonzero(shares > 0)
            total[rows] += shares[rows, None] * self._hear(block, window, steps[rows])
        return total

    def _window_place(self, time_s: Fraction) -> float:
        """Which window a moment is heard in: 2 is the third one; 2.25 a quarter of the fourth, the rest the third."""
        after_s = time_s - self._fade_start_s
        passed = max(0, math.floor(after_s / self._slide_s))
        return float(passed + min(Fraction(1), max(Fraction(0), after_s - passed * self._slide_s) / self._fade_s))

    def _hear(self, block: AudioBlock, window: int, steps: StepArray) -> FloatArray:
        start_s = window * self._slide_s
        levels = self._listener.listen(cut_samples(block, start_s, start_s + self._listener.window_s))
        return gather(levels, start_s * STEP_HZ, steps, count_steps(block), clamps=self._listener.clamps_ends)


class UpstreamFeatures:
    """See above. Blocks come in order; each window is heard once."""

    def __init__(self, listener: Listener, frame_rate: Fraction) -> None:
        self._listener = listener
        self._frame_rate = frame_rate
        self._windows: dict[int, FloatArray] = {}
        # A block may need the whole window in front of its own, less its own first step, and the whole one behind.
        self.before_s = listener.window_s + 0.4
        self.after_s = listener.window_s + 0.12

    def features(self, block: AudioBlock) -> FloatArray:
        """float32 (len(block.frames), 10 · levels · dim)."""
        if not block.frames:
            return np.zeros((0, STEPS_PER_FRAME * self._listener.step_dim), np.float32)
        steps = upstream_frame_steps(block.frames, self._frame_rate)
        num_steps = count_steps(block)
        size = self._listener.window_s * STEP_HZ
        last = int(steps.max()) if num_steps is None else max(0, min(int(steps.max()), num_steps - 1))
        indices = range(max(0, min(int(steps.min()), last)) // size, last // size + 1)
        self._windows = {index: self._window(block, index) for index in indices}
        levels = np.concatenate([self._windows[index] for index in indices])
        return gather(levels, indices.start * size, steps, num_steps, clamps=self._listener.clamps_ends)

    def _window(self, block: AudioBlock, index: int) -> FloatArray:
        if index in self._windows:
            return self._windows[index]
        start_s = index * self._listener.window_s
        return self._listener.listen(cut_samples(block, start_s, start_s + self._listener.window_s))
