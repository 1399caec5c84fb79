"""Audio → mouth shape of every video frame."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import musetalk_cli
from musetalk_cli.engine.models.warp.audio.acoustics import (
    REACH_AHEAD_S,
    REACH_BACK_STEPS,
    SAMPLE_RATE_HZ,
    STEP_S,
    extract_steps,
)
from musetalk_cli.engine.models.warp.audio.net import MouthNet, load_net

FloatArray = NDArray[np.float32]

# Real mouths move before their audio: measured on talking people, by one frame of 25 fps in the median.
LEAD_S = 0.04
# The gate looks this many steps around itself, so that the silence inside a /t/ or /k/ does not shut the mouth.
GATE_REACH_STEPS = 4
GATE_LEVEL_DB = (-38.0, -28.0)
GATE_POWER_DBFS = (-76.0, -68.0)
# A frame shows the mouth of its first 40 ms at most: averaged over longer, all mouths are half open, and a frame that
# runs past the end of its block would need more audio than a live stream has.
LONGEST_VIEW_S = 0.04
# The net answers for every 20 ms by itself. A share of each neighbour takes the flicker out of O, J, W, P and F; more
# of it in the closures would leave lips apart. (The net was trained with 0.25 and 0.1.)
NEIGHBOUR_SHARE = np.array([0.33, 0.33, 0.33, 0.22, 0.22], dtype=np.float32)
_PROBE_S = 0.005


class MouthReader:
    """Reads mouth shapes from 16 kHz audio with the packaged net. Holds no state: safe to share between threads.

    ``before_s`` and ``after_s`` say how much audio before its first and after its last frame an answer depends on.
    Given at least that much (silence before the stream's start and after its end may be left out), block-wise reading
    gives what reading the whole stream gives.
    """

    before_s: float = 4.0
    after_s: float = 0.40

    def __init__(self, net: MouthNet) -> None:
        past, future = _needed_context_s(net)
        if past > self.before_s or future > self.after_s:
            raise ValueError(f"this net needs {past:.2f} s before and {future:.2f} s after a block, too much context")
        self._net = net

    @classmethod
    def load(cls) -> MouthReader:
        """With the weights that ship with the package. Raises ModelError when they are damaged."""
        return cls(load_net(Path(musetalk_cli.__file__).parent / "assets" / "mouth_net.npz"))

    def read(
        self, samples: FloatArray, start_s: float, frame_times_s: NDArray[np.floating[Any]], frame_s: float = 0.04
    ) -> FloatArray:
        """Mouth shapes float32 (frames, 5): O gap, J jaw, P pressed lips, F labiodental, all 0..1; W width −1..1.

        Columns are in the order O, J, W, P, F. ``samples`` float32 (n,) in ±1 at 16 kHz; the first lies ``start_s`` (a
        multiple of 0.02) after the stream's start. ``frame_times_s`` (frames,) are the frames' start times in the
        stream, ascending; ``frame_s`` is how long each is shown (1 / fps). Audio outside ``samples`` counts as silence.
        Digital silence gives exactly 0.
        Raises ValueError when ``start_s`` is off the 0.02 s grid or ``frame_s`` is not positive.
        """
        times_s = np.asarray(frame_times_s, dtype=np.float64)
        start_step = round(start_s / STEP_S)
        if abs(start_step * STEP_S - start_s) > 1e-6:
            raise ValueError(f"start_s must be a multiple of {STEP_S} s, not {start_s}")
        if frame_s <= 0.0:
            raise ValueError(f"frame_s must be positive, not {frame_s}")
        if len(times_s) == 0:
            return np.zeros((0, 5), np.float32)
        first_step = math.floor((times_s[0] + LEAD_S) / STEP_S) - 1
        view_s = min(frame_s, LONGEST_VIEW_S)
        last_step = math.ceil((times_s[-1] + view_s + LEAD_S) / STEP_S)
        first_sample = start_step * round(STEP_S * SAMPLE_RATE_HZ)
        steps = self.read_steps(samples, first_sample, first_step, last_step - first_step + 1)
        return sample_frames(steps, first_step, times_s + LEAD_S, view_s)

    def read_steps(self, samples: FloatArray, first_sample: int, first_step: int, num_steps: int) -> FloatArray:
        """The net's answers float32 (num_steps, 5) for 20 ms steps of the stream, smoothed, and zero in silence.

        O is the opening the speaker aims at, closures not yet taken off. ``samples`` begins at the stream's sample
        ``first_sample``.
        """
        past, future = self._net.past_steps + 1, self._net.future_steps + 1  # one more for the smoothing
        features = extract_steps(
            np.asarray(samples, dtype=np.float32), first_sample, first_step - past, past + num_steps + future
        )
        gate = _speech_gate(features.level_db, features.power_dbfs)[past : past + num_steps]
        return np.asarray(_smooth(self._net.forward(features.bands)) * gate[:, None], dtype=np.float32)


def _smooth(steps: FloatArray) -> FloatArray:
    """Steps (n + 2, 5) → (n, 5): each with its neighbours' shares."""
    return steps[1:-1] + NEIGHBOUR_SHARE * (steps[:-2] + steps[2:] - 2.0 * steps[1:-1])


def sample_frames(steps: FloatArray, first_step: int, times_s: NDArray[np.float64], view_s: float) -> FloatArray:
    """Steps (n, 5) → frames (m, 5): the mean over each view, closed as far as its strongest closure says.

    ``first_step`` is the stream's index of ``steps[0]``; the views begin at ``times_s`` (m,) and last ``view_s``.
    A mean of the closures would erase one shorter than the view. Steps count as linear between their centres. P comes
    out squared: what lips do at half a closure is in the gap already, and only a sure one presses them together.
    """
    centres_s = (first_step + np.arange(len(steps)) + 0.5) * STEP_S
    count = max(2, math.ceil(view_s / _PROBE_S)) + 1
    probes = times_s[:, None] + np.linspace(0.0, view_s, count)[None, :]
    values = [np.interp(probes, centres_s, steps[:, k]) for k in range(steps.shape[1])]
    gap, jaw, width = (value.mean(axis=1) for value in values[:3])
    bilabial, labiodental = (value.max(axis=1) for value in values[3:])
    gap = gap * (1.0 - bilabial) * (1.0 - 0.75 * labiodental)
    return np.stack([gap, jaw, width, bilabial**2, labiodental], axis=1).astype(np.float32)


def _speech_gate(level_db: FloatArray, power_dbfs: FloatArray) -> FloatArray:
    """0 in silence … 1 in speech, per step, from the loudest of the steps around it.

    Soft, so that a rounding difference stays one.
    """
    relative = _ramp(_loudest_around(level_db), *GATE_LEVEL_DB)
    absolute = _ramp(_loudest_around(power_dbfs), *GATE_POWER_DBFS)
    return np.asarray(relative * absolute, dtype=np.float32)


def _loudest_around(values: FloatArray) -> FloatArray:
    padded = np.pad(values, GATE_REACH_STEPS, mode="edge")
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, 2 * GATE_REACH_STEPS + 1).max(axis=1))


def _ramp(values: FloatArray, low: float, high: float) -> FloatArray:
    t = np.clip((values - low) / (high - low), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), dtype=np.float32)


def _needed_context_s(net: MouthNet) -> tuple[float, float]:
    """Seconds of audio that a block's mouths depend on before its start and after its end.

    A frame may begin just before the end, and its last view lies between two smoothed step centres: 2.5 steps more.
    """
    past_steps = net.past_steps + REACH_BACK_STEPS + 2.5
    future_steps = net.future_steps + 2.5
    ahead_s = future_steps * STEP_S + REACH_AHEAD_S + LEAD_S + LONGEST_VIEW_S
    return past_steps * STEP_S + REACH_AHEAD_S - LEAD_S, ahead_s
