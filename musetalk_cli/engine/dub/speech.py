"""A voice over a clip: the mouth's shape at each frame's time, and how much of it shows."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.audio.blocks import BlockCutter
from musetalk_cli.engine.audio.sources import AudioSource
from musetalk_cli.engine.models.musetalk.audio.silence import SilenceGate, SilenceSettings
from musetalk_cli.engine.models.warp.audio.mouth_net import OUTPUTS
from musetalk_cli.engine.models.warp.audio.mouth_shapes import MouthShapePredictor, express
from musetalk_cli.engine.types.messages import AUDIO_RATE_HZ, AudioBlock, FloatArray

BLOCK_S = 2.0
CUT_RATE = Fraction(25)  # of the blocks; frames have times of their own


@dataclass(frozen=True)
class Speech:
    """``shapes`` float32 (n, 6) and ``weights`` float32 (n,) 0..1, one for each of n frames; ``duration_s`` of the
    voice."""

    shapes: FloatArray
    weights: FloatArray
    duration_s: float


def read_speech(
    source: AudioSource,
    times_s: NDArray[np.float64],
    frame_s: float,
    silence: SilenceSettings,
    expression: float = 1.0,
) -> Speech:
    """Read a voice from its beginning to its end.

    Args:
        source: the voice, open; what it says at 0 s is shown by the frame of that time.
        times_s: float64 (n,), when each frame is shown, ascending.
        frame_s: seconds that a frame is shown.
        silence: what counts as speech.
        expression: how far the mouth moves; 1 is as far as people's.

    Raises:
        SourceError: it breaks off.
    """
    predictor, gate = MouthShapePredictor.load(), SilenceGate(silence)
    before_s, after_s = max(predictor.before_s, gate.before_s), max(predictor.after_s, gate.after_s)
    cutter = BlockCutter(BLOCK_S, before_s, after_s, CUT_RATE, leads=False)
    shapes, weights = np.zeros((len(times_s), len(OUTPUTS)), np.float32), np.zeros(len(times_s), np.float32)

    def add(block: AudioBlock) -> None:
        start_s = block.start_s + before_s
        first, last = np.searchsorted(times_s, [start_s - 1e-9, start_s + BLOCK_S - 1e-9])
        if first < last:
            times = times_s[first:last]
            shapes[first:last] = predictor.predict(block.samples, block.start_s, times, frame_s)
            weights[first:last] = gate.weigh(block.samples, block.start_s, times)

    num_samples = 0
    while (audio := source.read()) is not None:
        num_samples += len(audio)
        for block in cutter.push(audio):
            add(block)
    for block in cutter.finish():
        add(block)
    return Speech(express(shapes, expression), weights, num_samples / AUDIO_RATE_HZ)
