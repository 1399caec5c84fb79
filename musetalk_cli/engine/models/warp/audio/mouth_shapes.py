"""Samples float32 (n,) at 16 kHz and frame times (frames,) → mouth shapes float32 (frames, 6).

The net predicts a shape for every 20 ms step. Steps are gated by a speech detector, smoothed, and resampled to frames.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import musetalk_cli
from musetalk_cli.engine.models.warp.audio.frame_shapes import MAX_WINDOW_S, NEIGHBOUR_S, sample_frames
from musetalk_cli.engine.models.warp.audio.log_mel import (
    REACH_AHEAD_S,
    REACH_BACK_STEPS,
    SAMPLE_RATE_HZ,
    STEP_S,
    extract_features,
)
from musetalk_cli.engine.models.warp.audio.mouth_net import OUTPUTS, MouthNet, load_net
from musetalk_cli.engine.models.warp.audio.width_map import WidthMap

FloatArray = NDArray[np.float32]

# Real mouths move before the audio of their speech: by one frame at 25 fps, the median over measured talking people.
LEAD_S = 0.04
# The gate takes the loudest step in this radius, so that the silence inside a /t/ or /k/ does not close the mouth.
GATE_REACH_STEPS = 4
GATE_LEVEL_DB = (-38.0, -28.0)
GATE_POWER_DBFS = (-76.0, -68.0)
# Smoothing kernel over steps: the weight of each neighbour for O, J, W, P, F and T. It removes flicker between steps.
# The net's closures are that much surer. (The net was trained with 0.25 and 0.1, later with 0.22 for P and F.)
NEIGHBOUR_WEIGHTS = np.array([0.33, 0.33, 0.33, 0.33, 0.33, 0.33], dtype=np.float32)
# In noise the net is seldom sure of a closure. There the odds of P are multiplied by up to NOISE_ODDS. It is noise
# where even the quietest of the last steps is not far below the speech: by these levels, not at all and fully.
NOISE_LEVEL_DB = (-28.0, -18.0)
NOISE_STEPS = 60
NOISE_ODDS = 2.7
# For how many steps after speech the lips stay parted in a pause, and after how many they have shut.
PARTED_STEPS, SHUT_STEPS = 25, 38
# Share of a gap that is left, however rounded the lips, so that a rounded vowel does not shut the mouth.
LEAST_OPEN = 0.5
# What is drawn is this much larger than what the net aims at: a net that is right on average moves less than people do.
# Beyond the knee it bends towards 1, the widest mouth that can be drawn.
AMPLITUDE = 2.2
_KNEE = 0.5
# T of the net, and what is drawn: the net is seldom sure of a tongue, and what it is not sure of stays down.
_TONGUE_SEEN, _TONGUE_DRAWN = (0.15, 0.42, 0.55, 0.7), (0.0, 0.66, 0.7, 1.0)
_PRESSED = OUTPUTS.index("P")


class GapMap(NamedTuple):
    """From the net's outputs to the lip gap that people show; measured on real talkers.

    ``spread_opens``: by how much spread lips (W) open wider, and rounded ones less. ``parted``: the gap of lips in a
    short pause. They shut only when it becomes long. Steady noise is no pause.
    """

    spread_opens: float = 0.35
    parted: float = 0.12

    def gap(self, steps: FloatArray) -> FloatArray:
        """The gap of steps (n, 6) that the net gave, (n,), without what parts the lips in a pause."""
        gap, _, width, bilabial, labiodental = steps.T[:5]
        is_free = (1.0 - bilabial) * (1.0 - labiodental)
        return np.asarray(np.maximum(gap + np.float32(self.spread_opens) * width * is_free, LEAST_OPEN * gap))


class MouthShapePredictor:
    """Predicts mouth shapes from 16 kHz audio with a MouthNet. Holds no state: safe to share between threads.

    ``before_s`` and ``after_s``: seconds of audio before the first and after the last frame that a prediction depends
    on. With that much context, predictions for blocks equal those for the whole stream. Silence before the stream's
    start and after its end may be left out.
    """

    before_s: float = 4.0
    after_s: float = 0.40

    def __init__(self, net: MouthNet, gap_map: GapMap | None = None, width_map: WidthMap | None = None) -> None:
        past, future = _needed_context_s(net)
        if past > self.before_s or future > self.after_s:
            raise ValueError(f"this net needs {past:.2f} s before and {future:.2f} s after a block, too much context")
        self._net = net
        self._gap_map, self._width_map = gap_map or GapMap(), width_map or WidthMap()

    @classmethod
    def load(cls) -> MouthShapePredictor:
        """A predictor with the packaged weights. Raises ModelError when they are damaged."""
        return cls(load_net(Path(musetalk_cli.__file__).parent / "assets" / "mouth_net.npz"))

    def look_ahead_s(self, block_s: float, frame_s: float) -> float:
        """Audio behind a block of ``block_s`` that its last frame depends on, seconds, a multiple of the step.

        Where blocks are whole frames of ``frame_s`` seconds, the last one begins a frame before the block's end.
        """
        num_frames = block_s / frame_s
        if abs(num_frames - round(num_frames)) > 1e-6:
            return self.after_s
        needed_s = _needed_context_s(self._net)[1] - frame_s - (MAX_WINDOW_S - min(frame_s, MAX_WINDOW_S))
        return min(self.after_s, round(math.ceil(needed_s / STEP_S - 1e-6) * STEP_S, 2))

    def predict(
        self, samples: FloatArray, start_s: float, frame_times_s: NDArray[np.floating[Any]], frame_s: float = 0.04
    ) -> FloatArray:
        """Predict the mouth shape of every frame. Digital silence gives exactly 0.

        Args:
            samples: float32 (n,) in ±1 at 16 kHz. Audio outside them counts as silence.
            start_s: Time in the stream of ``samples[0]``, a multiple of 0.02.
            frame_times_s: Start times of the frames in the stream, (frames,), ascending.
            frame_s: Seconds that each frame is shown, 1 / fps.

        Returns:
            float32 (frames, 6), columns O, J, W, P, F, T: lip gap, jaw, width, lips pressed together, labiodental,
            tongue's tip (two thirds: behind the upper teeth; 1: between the teeth). All in 0..1, except W in −1
            (rounded) .. 1 (spread).

        Raises:
            ValueError: ``start_s`` is not a multiple of 0.02, or ``frame_s`` is not positive.
        """
        times_s = np.asarray(frame_times_s, dtype=np.float64)
        start_step = round(start_s / STEP_S)
        if abs(start_step * STEP_S - start_s) > 1e-6:
            raise ValueError(f"start_s must be a multiple of {STEP_S} s, not {start_s}")
        if frame_s <= 0.0:
            raise ValueError(f"frame_s must be positive, not {frame_s}")
        if len(times_s) == 0:
            return np.zeros((0, len(OUTPUTS)), np.float32)
        first_step = math.floor((times_s[0] + LEAD_S - NEIGHBOUR_S) / STEP_S) - 1
        window_s = min(frame_s, MAX_WINDOW_S)
        last_step = math.ceil((times_s[-1] + window_s + LEAD_S + NEIGHBOUR_S) / STEP_S)
        first_sample = start_step * round(STEP_S * SAMPLE_RATE_HZ)
        steps = self.predict_steps(samples, first_sample, first_step, last_step - first_step + 1)
        return sample_frames(steps, first_step, times_s + LEAD_S, window_s)

    def predict_steps(self, samples: FloatArray, first_sample: int, first_step: int, num_steps: int) -> FloatArray:
        """The net's output float32 (num_steps, 6) for 20 ms steps of the stream, smoothed, and zero in long silence.

        O is the gap that the speaker aims at, closures not yet applied, and a little in short pauses.

        Args:
            samples: float32 (n,) in ±1 at 16 kHz. Audio outside them counts as silence.
            first_sample: Index in the stream of ``samples[0]``.
            first_step: Index in the stream of the first step.
            num_steps: Number of steps.
        """
        past, future = _past_steps(self._net) + 1, self._net.future_steps + 1  # one more for the smoothing
        features = extract_features(
            np.asarray(samples, dtype=np.float32), first_sample, first_step - past, past + num_steps + future
        )
        gate = _speech_gate(features.level_db, features.power_dbfs)
        asked = slice(past, past + num_steps)
        steps = self._net.forward(features.bands[past - 1 - self._net.past_steps :])
        noise = _noise(features.level_db)[past - 1 :][: len(steps)]
        steps[:, _PRESSED] = _surer(steps[:, _PRESSED], 1.0 + noise * np.float32(NOISE_ODDS - 1.0))
        steps = _smooth(steps) * gate[asked, None]
        gap = self._gap_map.gap(steps)
        steps[:, 0] = gap + np.float32(self._gap_map.parted) * (_held(gate) - gate)[asked]
        steps[:, 2] = self._width_map.width(steps)
        return np.asarray(steps, dtype=np.float32)


def express(shapes: FloatArray, expression: float) -> FloatArray:
    """Mouth shapes (n, 6) as they are drawn: as large as people's, times ``expression``; P and F stay as they are.

    The tongue's tip is drawn up where the net is sure enough of it.
    """
    out = shapes.copy()
    wide = np.maximum(out[:, :2] * np.float32(AMPLITUDE * expression) - np.float32(_KNEE), 0.0)
    low = np.minimum(out[:, :2] * np.float32(AMPLITUDE * expression), np.float32(_KNEE))
    out[:, :2] = low + (1.0 - _KNEE) * (1.0 - np.exp(-wide / (1.0 - _KNEE)))
    out[:, 2] = np.clip(out[:, 2] * np.float32(expression), -1.0, 1.0)
    out[:, 5] = np.interp(out[:, 5], _TONGUE_SEEN, _TONGUE_DRAWN)
    return np.asarray(out, dtype=np.float32)


def _smooth(steps: FloatArray) -> FloatArray:
    """Steps (n + 2, 6) → (n, 6): each with the weighted neighbours added."""
    return steps[1:-1] + NEIGHBOUR_WEIGHTS * (steps[:-2] + steps[2:] - 2.0 * steps[1:-1])


def _surer(share: FloatArray, odds: FloatArray) -> FloatArray:
    """Shares in 0..1 whose odds are multiplied."""
    return np.asarray(share * odds / (1.0 + share * (odds - 1.0)), dtype=np.float32)


def _noise(level_db: FloatArray) -> FloatArray:
    """0 where it was quiet in one of the last ``NOISE_STEPS`` steps … 1 in noise, per step."""
    padded = np.pad(level_db, (NOISE_STEPS - 1, 0), mode="edge")
    return _ramp(np.lib.stride_tricks.sliding_window_view(padded, NOISE_STEPS).min(axis=1), *NOISE_LEVEL_DB)


def _speech_gate(level_db: FloatArray, power_dbfs: FloatArray) -> FloatArray:
    """0 in silence … 1 in speech, per step, from the loudest of the steps around it.

    A ramp rather than a threshold, so that a rounding difference in the level stays small in the mouth.
    """
    relative = _ramp(_loudest_around(level_db), *GATE_LEVEL_DB)
    absolute = _ramp(_loudest_around(power_dbfs), *GATE_POWER_DBFS)
    return np.asarray(relative * absolute, dtype=np.float32)


def _held(gate: FloatArray) -> FloatArray:
    """The gate held after speech: 1 for ``PARTED_STEPS``, then falling to 0 until ``SHUT_STEPS``; same length."""
    weights = np.interp(np.arange(SHUT_STEPS + 1), [PARTED_STEPS, SHUT_STEPS], [1.0, 0.0]).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(gate, (SHUT_STEPS, 0)), SHUT_STEPS + 1)
    return np.asarray((windows * weights[::-1]).max(axis=1), dtype=np.float32)


def _loudest_around(values: FloatArray) -> FloatArray:
    padded = np.pad(values, GATE_REACH_STEPS, mode="edge")
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, 2 * GATE_REACH_STEPS + 1).max(axis=1))


def _ramp(values: FloatArray, low: float, high: float) -> FloatArray:
    t = np.clip((values - low) / (high - low), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), dtype=np.float32)


def _past_steps(net: MouthNet) -> int:
    """Steps before its own that an output depends on, after the features' own past."""
    return max(net.past_steps, NOISE_STEPS - 1)


def _needed_context_s(net: MouthNet) -> tuple[float, float]:
    """Seconds of audio that a block's mouth shapes depend on, before its start and after its end.

    A frame may begin just before the block's end, and its window may end between two smoothed steps: 2.5 steps more.
    """
    past_steps = _past_steps(net) + REACH_BACK_STEPS + 2.5
    future_steps = net.future_steps + 2.5
    ahead_s = future_steps * STEP_S + REACH_AHEAD_S + LEAD_S + MAX_WINDOW_S + NEIGHBOUR_S
    return past_steps * STEP_S + REACH_AHEAD_S - LEAD_S + NEIGHBOUR_S, ahead_s
