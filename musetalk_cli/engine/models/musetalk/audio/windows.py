"""The audio features of each frame, taken from Whisper's windows: the same for a file and for a live stream.

A frame's features are ten steps of Whisper's encoder (20 ms each) with all five levels: four steps before its own, its
own two at 25 frames per second, four after. Whisper encodes windows of 30 s and is not causal, so it matters *which*
window a step is taken from. There are two schemes:

``AnchoredFeatures`` is used for files and streams alike. The windows begin at fixed times of the stream, every 10 s. A
frame is encoded at its position in one of them, with the audio before it and silence for the audio that is still to
come. Whisper's hidden states depend on the position in the window, so from each window to the next some frames are
encoded in both and cross-faded. A block's features depend on the block alone: they are the same, bit for bit, however
the input is cut.

``UpstreamFeatures`` does what the official scripts do: adjacent windows of 30 s, each encoded whole, that is with up to
30 s of future audio, and their selection of steps for each frame. It serves comparison with the official results.
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


class FeatureEncoder(Protocol):
    """Audio → hidden states, as ``WhisperFeatureEncoder``."""

    window_s: int
    step_dim: int  # levels · dim
    clamps_ends: bool

    def encode(self, samples: FloatArray) -> FloatArray:
        """float32 (n,), 16 kHz, at most ``window_s``, padded to a whole window → (steps, levels, dim)."""


def frame_steps(frames: range, frame_rate: Fraction) -> StepArray:
    """The ten steps of each frame, (len(frames), 10); negative ones are before the stream's start.

    The frame's own first step is the one that contains its timestamp. At 25 frames per second this is upstream's rule.
    At lower rates upstream's steps are up to 120 ms early; ours are not.
    """
    first = [math.floor(frame * STEP_HZ / frame_rate) - STEPS_BEFORE for frame in frames]
    return np.array(first, np.int64).reshape(-1, 1) + np.arange(STEPS_PER_FRAME)


def upstream_frame_steps(frames: range, frame_rate: Fraction) -> StepArray:
    """The same by upstream's rule, with its integer frame rate and its floating-point rounding."""
    rate = int(frame_rate)
    steps_per_frame = STEP_HZ / rate
    before = 2 * math.ceil(steps_per_frame)
    first = [math.floor(frame * steps_per_frame) - before for frame in frames]
    return np.array(first, np.int64).reshape(-1, 1) + np.arange(STEPS_PER_FRAME)


def gather_steps(
    levels: FloatArray, first_step: int, steps: StepArray, num_steps: int | None, *, clamps: bool
) -> FloatArray:
    """Concatenate the hidden states of each frame's steps.

    Args:
        levels: (n, levels, dim), beginning with the stream's step ``first_step``.
        first_step: index of ``levels[0]`` in the stream.
        steps: (frames, 10), as ``frame_steps`` returns them.
        num_steps: the stream's length in steps, None while it is unknown.
        clamps: steps outside the stream repeat the nearest inside (MuseTalk 1.0) instead of being zeros (1.5).

    Returns:
        (frames, 10 · levels · dim), step by step, in each all levels.
    """
    end = first_step + len(levels) if num_steps is None else num_steps
    inside = np.clip(steps, 0, max(0, end - 1))
    gathered = levels[inside - first_step]
    if not clamps:
        gathered[(steps < 0) | (steps >= end)] = 0.0
    return gathered.reshape(len(steps), -1)


def count_steps(block: AudioBlock) -> int | None:
    """Whole steps in the stream, None while its end is unknown."""
    return None if block.audio_end is None else block.audio_end * STEP_HZ // AUDIO_RATE_HZ


def count_upstream_steps(block: AudioBlock) -> int | None:
    """The same by upstream's rule in floating point, which loses a step at some lengths, such as 0.58 s and 1.16 s."""
    if block.audio_end is None:
        return None
    num_samples = block.num_samples
    if num_samples is None:
        num_samples = -(-block.audio_end * MODEL_RATE_HZ // AUDIO_RATE_HZ)
    return math.floor(num_samples / MODEL_RATE_HZ * STEP_HZ)


def count_upstream_frames(num_samples: int, frame_rate: Fraction) -> int:
    """How many frames upstream makes of ``num_samples`` at 16 kHz, by its rule in floating point with whole rates."""
    return math.floor(num_samples / MODEL_RATE_HZ * int(frame_rate))


def cut_samples(block: AudioBlock, start_s: int, stop_s: int) -> FloatArray:
    """The stream's samples from ``start_s`` to ``stop_s``, as far as the block has them, without its padding."""
    first = round(block.start_s * MODEL_RATE_HZ)
    end = first + len(block.samples)
    if block.audio_end is not None:
        whole = -(-block.audio_end * MODEL_RATE_HZ // AUDIO_RATE_HZ)
        end = min(end, whole if block.num_samples is None else block.num_samples)
    return block.samples[start_s * MODEL_RATE_HZ - first : min(stop_s * MODEL_RATE_HZ, end) - first]


class AnchoredFeatures:
    """The scheme for files and streams, see the module. ``features`` is a pure function of the block."""

    # The last step of a block's last frame begins at most four steps behind it, and depends on 32.5 ms more.
    after_s = 0.12

    def __init__(self, encoder: FeatureEncoder, frame_rate: Fraction) -> None:
        self._encoder = encoder
        self._frame_rate = frame_rate
        self._slide_s = encoder.window_s // 3
        # Frames in the last 2 of 30 s take the next window, in which a block's look-ahead fits. The cross-fade before
        # that takes 0.4 s: long enough that features change no faster than elsewhere, and short, as the mean of two
        # windows has a slightly smaller norm.
        self._fade_s = Fraction(encoder.window_s, 75)
        self._fade_start_s = Fraction(14 * encoder.window_s, 15) - self._fade_s
        self.before_s = float(encoder.window_s)

    def features(self, block: AudioBlock) -> FloatArray:
        """float32 (len(block.frames), 10 · levels · dim)."""
        steps = frame_steps(block.frames, self._frame_rate)
        total = np.zeros((len(steps), STEPS_PER_FRAME * self._encoder.step_dim), np.float32)
        if not len(steps):
            return total
        positions = np.array([self._window_position(frame / self._frame_rate) for frame in block.frames])
        for window in range(int(positions[0]), math.ceil(positions[-1]) + 1):
            shares = (1 - np.abs(positions - window)).astype(np.float32)
            rows = np.flatnonzero(shares > 0)
            total[rows] += shares[rows, None] * self._encode_window(block, window, steps[rows])
        return total

    def _window_position(self, time_s: Fraction) -> float:
        """The window that a timestamp is encoded in: 2 is the third one, 2.25 a quarter of the fourth and the rest of
        the third."""
        after_s = time_s - self._fade_start_s
        passed = max(0, math.floor(after_s / self._slide_s))
        return float(passed + min(Fraction(1), max(Fraction(0), after_s - passed * self._slide_s) / self._fade_s))

    def _encode_window(self, block: AudioBlock, window: int, steps: StepArray) -> FloatArray:
        start_s = window * self._slide_s
        levels = self._encoder.encode(cut_samples(block, start_s, start_s + self._encoder.window_s))
        return gather_steps(levels, start_s * STEP_HZ, steps, count_steps(block), clamps=self._encoder.clamps_ends)


class UpstreamFeatures:
    """The official scripts' scheme, see the module. Blocks come in order; each window is encoded once."""

    def __init__(self, encoder: FeatureEncoder, frame_rate: Fraction) -> None:
        self._encoder = encoder
        self._frame_rate = frame_rate
        self._windows: dict[int, FloatArray] = {}
        # A block may need the whole window before its own, less its own first step, and the whole one behind.
        self.before_s = encoder.window_s + 0.4
        self.after_s = encoder.window_s + 0.12

    def features(self, block: AudioBlock) -> FloatArray:
        """float32 (len(block.frames), 10 · levels · dim)."""
        if not block.frames:
            return np.zeros((0, STEPS_PER_FRAME * self._encoder.step_dim), np.float32)
        steps = upstream_frame_steps(block.frames, self._frame_rate)
        num_steps = count_upstream_steps(block)
        size = self._encoder.window_s * STEP_HZ
        last = int(steps.max()) if num_steps is None else max(0, min(int(steps.max()), num_steps - 1))
        indices = range(max(0, min(int(steps.min()), last)) // size, last // size + 1)
        self._windows = {index: self._window(block, index) for index in indices}
        levels = np.concatenate([self._windows[index] for index in indices])
        return gather_steps(levels, indices.start * size, steps, num_steps, clamps=self._encoder.clamps_ends)

    def _window(self, block: AudioBlock, index: int) -> FloatArray:
        if index in self._windows:
            return self._windows[index]
        start_s = index * self._encoder.window_s
        return self._encoder.encode(cut_samples(block, start_s, start_s + self._encoder.window_s))
