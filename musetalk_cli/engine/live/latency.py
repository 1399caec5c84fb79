"""How long audio takes from the source to the bytes of its frame, step by step, and over the whole run."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from fractions import Fraction

import numpy as np

from musetalk_cli.engine.runtime.stats import LatencyStats
from musetalk_cli.engine.types.messages import AUDIO_RATE_HZ

# What happens to a frame, in order; a step lasts from the mark before it to its own.
STEPS = ("capture", "features", "model", "composite", "encode")
NUM_REMEMBERED = 4096  # frames under way, at most; 80 s at 50 fps
RECENT_S = 10.0
NUM_ARRIVALS = 4096  # reads of the source that are remembered, at least 80 s of the shortest ones
BUCKET_S = 0.005
LONGEST_S = 60.0


class LatencyLog:
    """Collects marks from all stages, each in stream order; memory does not grow. Safe to use from several threads."""

    def __init__(self, frame_rate: Fraction, now: Callable[[], float] = time.monotonic) -> None:
        self._frame_rate = frame_rate
        self._now = now
        self._lock = threading.Lock()
        self._ends: deque[int] = deque(maxlen=NUM_ARRIVALS)
        self._times: deque[float] = deque(maxlen=NUM_ARRIVALS)
        self._marks = np.full((len(STEPS), NUM_REMEMBERED), np.nan)  # the mark in front of each step
        self._recent = np.full((len(STEPS), int(RECENT_S * frame_rate)), np.nan)
        self._histogram = np.zeros(int(LONGEST_S / BUCKET_S) + 1, dtype=np.int64)
        self._num_samples = 0
        self._num_out = 0

    def arrive(self, num_samples: int) -> None:
        """The source gave ``num_samples`` more."""
        with self._lock:
            self._num_samples += num_samples
            self._ends.append(self._num_samples)
            self._times.append(self._now())

    def restart(self) -> None:
        """What arrives next is the first of another utterance."""
        with self._lock:
            self._num_samples = 0
            self._ends.clear()
            self._times.clear()

    def cut(self, frames: range, offset: int = 0) -> None:
        """The block with these frames of the voice is whole; in the output they are ``offset`` frames later."""
        with self._lock:
            now = self._now()
            for frame in frames if self._times else ():
                index = bisect_left(self._ends, int(frame / self._frame_rate * AUDIO_RATE_HZ) + 1)
                self._marks[0, (offset + frame) % NUM_REMEMBERED] = self._times[min(index, len(self._times) - 1)]
                self._marks[1, (offset + frame) % NUM_REMEMBERED] = now

    def skip(self, frames: range) -> None:
        """These frames of the output show no voice, and so have no latency."""
        with self._lock:
            self._marks[:2, np.arange(frames.start, frames.stop) % NUM_REMEMBERED] = np.nan

    def mark(self, step: str, frames: range) -> None:
        """A step (``features``, ``model`` or ``composite``) is done with these frames."""
        with self._lock:
            self._marks[STEPS.index(step) + 1, np.arange(frames.start, frames.stop) % NUM_REMEMBERED] = self._now()

    def leave(self, num_frames: int) -> None:
        """The bytes of ``num_frames`` more have left."""
        with self._lock:
            now = self._now()
            for _ in range(num_frames):
                marks = np.append(self._marks[:, self._num_out % NUM_REMEMBERED], now)
                self._recent[:, self._num_out % self._recent.shape[1]] = np.diff(marks)
                latency_s = marks[-1] - marks[0]
                if np.isfinite(latency_s):
                    self._histogram[min(int(latency_s / BUCKET_S), len(self._histogram) - 1)] += 1
                self._num_out += 1

    def figures(self) -> LatencyStats:
        with self._lock:
            recent = self._recent[:, np.isfinite(self._recent).all(axis=0)]
            if not recent.size:
                return LatencyStats()
            low, high = np.quantile(recent.sum(axis=0), [0.5, 0.95])
            steps = np.quantile(recent, [0.5, 0.95], axis=1) * 1000
            shares = np.cumsum(self._histogram) / self._histogram.sum()
            run = [float((np.searchsorted(shares, share) + 0.5) * BUCKET_S) for share in (0.5, 0.95)]
        named = {name: (float(steps[0, index]), float(steps[1, index])) for index, name in enumerate(STEPS)}
        return LatencyStats(float(low), float(high), run[0], run[1], named)
