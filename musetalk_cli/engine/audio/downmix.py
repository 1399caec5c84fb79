"""Stereo → the one channel that a model gets: the mean, unless the two cancel or only one of them says something."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.types.messages import AUDIO_RATE_HZ, AudioArray, FloatArray

HOP_S = 0.01  # for which one decision holds; it is blended into over the same time
# Of the louder channel's power, what the mean has at least: half where the channels are independent, all where they
# are the same, a quarter where one is empty. Below, that channel is taken; it goes back to the mean above the second.
LEAVE_MEAN_BELOW, RETURN_TO_MEAN_ABOVE = 0.3, 0.4
# By how much the other channel must be louder to be taken instead.
CHANGE_ABOVE = 2.0
QUIET = (32768 * 10 ** (-60 / 20)) ** 2  # power below which nothing is decided: -60 dBFS
MEMORY = 0.8  # of a hop's power, what is left of it in the next: some 50 ms
MEAN, LEFT, RIGHT = (0.5, 0.5), (1.0, 0.0), (0.0, 1.0)


class Downmix:
    """int16, or float32 in ±1, of shape (n, 1 or 2) → float32 (n,), in the same units.

    The result does not depend on how the input is cut. Every decision rests on what came before, so nothing is delayed.
    An offset (DC) counts for nothing.
    """

    def __init__(self, rate_hz: int = AUDIO_RATE_HZ) -> None:
        self._hop = round(HOP_S * rate_hz)  # samples
        self._place = 0  # in this hop
        self._weights = MEAN  # at the end of the hop before this one
        self._target = MEAN  # at the end of this one
        self._sums = np.zeros(5)  # of this hop so far, see _count
        self._powers = (0.0, 0.0, 0.0)  # left, right, mean

    def push(self, audio: AudioArray | FloatArray) -> FloatArray:
        """The mix of some more samples."""
        if audio.shape[1] == 1 or not len(audio):
            return audio[:, 0].astype(np.float32)
        mono = np.asarray(audio.astype(np.float32).mean(axis=1), dtype=np.float32)
        starts = [0, *range(self._hop - self._place, len(audio), self._hop)]
        sums = _count(audio, starts)
        for index, (start, stop) in enumerate(zip(starts, [*starts[1:], len(audio)], strict=True)):
            if self._weights != MEAN or self._target != MEAN:
                mono[start:stop] = self._blend(audio[start:stop])
            self._sums = self._sums + sums[:, index]
            self._place += stop - start
            if self._place == self._hop:
                self._decide()
        return mono

    def _blend(self, part: AudioArray | FloatArray) -> FloatArray:
        share = (np.arange(self._place + 1, self._place + len(part) + 1, dtype=np.float32) / self._hop)[:, None]
        before, after = np.array(self._weights, np.float32), np.array(self._target, np.float32)
        return np.asarray((part * (before + share * (after - before))).sum(axis=1), dtype=np.float32)

    def _decide(self) -> None:
        """Choose the weights that the next hop leads to."""
        left, right, of_left, of_right, of_both = self._sums.tolist()
        self._weights, self._place, self._sums = self._target, 0, np.zeros(5)
        of_mean = (of_left + of_right + 2 * of_both) / 4
        moments = ((left, of_left), (right, of_right), ((left + right) / 2, of_mean))
        hop = [(square - total**2 / self._hop) / self._hop for total, square in moments]
        self._powers = tuple(
            MEMORY * before + (1 - MEMORY) * now for before, now in zip(self._powers, hop, strict=True)
        )
        loudest = max(self._powers[:2])
        if loudest >= QUIET:
            limit = LEAVE_MEAN_BELOW if self._target == MEAN else RETURN_TO_MEAN_ABOVE
            self._target = MEAN if self._powers[2] >= limit * loudest else self._louder()

    def _louder(self) -> tuple[float, float]:
        """The louder channel; one that was taken before stays unless the other is much louder."""
        favour = 1.05 if self._target == MEAN else CHANGE_ABOVE if self._target == LEFT else 1 / CHANGE_ABOVE
        return LEFT if self._powers[0] * favour >= self._powers[1] else RIGHT


def _count(audio: AudioArray | FloatArray, starts: list[int]) -> NDArray[np.float64]:
    """Sums from each start to the next, (5, len(starts)): left, right, left squared, right squared, left times right.

    All are whole numbers below 2 ** 53, so they are exact whatever the order.
    """
    whole = audio if audio.dtype == np.int16 else np.rint(audio * 32768.0)
    left, right = whole[:, 0].astype(np.float64), whole[:, 1].astype(np.float64)
    rows = (left, right, left * left, right * right, left * right)
    return np.stack([np.add.reduceat(row, starts) for row in rows])
