"""A pipeline that runs against a clock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np

from musetalk_cli.engine.live.clock import PacingBudget
from musetalk_cli.engine.live.hooks import RunHooks
from musetalk_cli.engine.live.latency import LatencyLog
from musetalk_cli.engine.live.overload import Overload
from musetalk_cli.engine.runtime.stats import LiveStats, TargetHealth
from musetalk_cli.engine.runtime.timing import Rate
from musetalk_cli.engine.types.messages import AUDIO_RATE_HZ, AudioArray

SILENCE_PEAK = 33  # of 32768: −60 dBFS


class LivePace(RunHooks):
    """Against a clock, with its credit, its policy for an overload, and its latency."""

    def __init__(self, budget: PacingBudget, overload: Overload, frame_rate: Fraction, audio_lead: int) -> None:
        """``audio_lead``: 48 kHz samples by which the audio is ahead of its frames."""
        self.latency = LatencyLog(frame_rate)
        self.health: Callable[[], Sequence[TargetHealth]] = tuple
        self.count_overruns: Callable[[], int] = lambda: 0
        self.count_filled: Callable[[], int] = lambda: 0
        self._budget = budget
        self._overload = overload
        self._frame_rate = frame_rate
        self._opened = threading.Event()
        self._is_muted = False
        self._num_read = self._num_silent = 0
        self._audio_lead = audio_lead
        self._num_written_samples = 0
        self._skew_s = 0.0
        self._num_out = 0
        self._delivered = Rate()

    def hear(self, audio: AudioArray) -> AudioArray:
        self.latency.arrive(len(audio))
        audio = np.zeros_like(audio) if self._is_muted else audio
        self._num_read += len(audio)
        if len(audio) and np.abs(audio.astype(np.int32)).max() < SILENCE_PEAK:
            self._num_silent += len(audio)
        return audio

    def note_block(self, frames: range) -> None:
        self.latency.cut(frames)

    def note_step(self, step: str, frames: range) -> None:
        self.latency.mark(step, frames)

    def choose(self, frames: range) -> list[bool] | None:
        if self._opened.is_set():
            return None
        return self._overload.choose(len(frames), self._budget.lag_s(self._time_s(frames.start)))

    def leaves_out(self, frames: range) -> bool:
        if self._opened.is_set() or not len(frames):
            return False
        return self._overload.leave_out(len(frames), self._budget.lag_s(self._time_s(frames.stop)))

    @property
    def shows_idle(self) -> bool:
        return self._overload.policy == "idle"

    def wait_for_turn(self, frames: range) -> None:
        while not self._opened.is_set():
            wait_s = self._budget.release_wait_s(self._time_s(frames.start)) if len(frames) else 0.0
            if not wait_s:
                return
            self._opened.wait(wait_s)

    def note_written(self, frames: range, num_samples: int) -> None:
        if self._num_written_samples and num_samples:  # at the very end, all audio has been written already
            self._skew_s = self._time_s(frames.start) - (self._num_written_samples - self._audio_lead) / AUDIO_RATE_HZ
        self._num_written_samples += num_samples

    def note_out(self, num_frames: int) -> None:
        """The bytes of these frames have left the encoder."""
        self._num_out += num_frames
        self._delivered.add(num_frames)
        self.latency.leave(num_frames)

    def open_gates(self) -> None:
        self._opened.set()

    def toggle_mute(self) -> bool:
        self._is_muted = not self._is_muted
        return self._is_muted

    def figures(self) -> LiveStats:
        out_s = self._time_s(self._num_out)
        return LiveStats(
            latency=self.latency.figures(),
            delivered_fps=self._delivered.per_s(),
            buffer_s=max(0.0, self._num_read / AUDIO_RATE_HZ - out_s),
            lead_s=-self._budget.lag_s(out_s),
            counts=self._overload.counts,
            silence_share=self._num_silent / max(1, self._num_read),
            skew_ms=1000 * self._skew_s,
            num_overruns=self.count_overruns(),
            num_filled_s=self.count_filled() / AUDIO_RATE_HZ,
            is_muted=self._is_muted,
            targets=tuple(self.health()),
        )

    def _time_s(self, frame: int) -> float:
        return float(frame / self._frame_rate)
