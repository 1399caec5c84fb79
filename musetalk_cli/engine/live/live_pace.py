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
from musetalk_cli.engine.types.messages import AUDIO_RATE_HZ, AudioArray, AudioBlock, FrameBatch, IdleBlock

SILENCE_PEAK = 33  # of 32768: −60 dBFS


class LivePace(RunHooks):
    """Hooks of a run against a clock: its pacing budget, its overload policy and its latency."""

    def __init__(self, budget: PacingBudget, overload: Overload, frame_rate: Fraction) -> None:
        self.latency = LatencyLog(frame_rate)
        self.health: Callable[[], Sequence[TargetHealth]] = tuple
        self.count_overruns: Callable[[], int] = lambda: 0
        self.count_filled: Callable[[], int] = lambda: 0
        self.drop_waiting: Callable[[], None] = lambda: None
        self._budget = budget
        self._overload = overload
        self._frame_rate = frame_rate
        self._has_open_gates = False
        self._woken = threading.Event()
        self._is_muted = False
        self._num_read = self._num_silent = 0
        self._num_read_before = 0  # this utterance
        self._first_frame = 0  # of the output that belongs to it
        self._num_written_frames = self._num_written_samples = 0
        self._skew_s = 0.0
        self._num_out = 0
        self._delivered = Rate()

    def process_audio(self, audio: AudioArray) -> AudioArray:
        self.latency.arrive(len(audio))
        audio = np.zeros_like(audio) if self._is_muted else audio
        self._num_read += len(audio)
        if len(audio) and np.abs(audio.astype(np.int32)).max() < SILENCE_PEAK:
            self._num_silent += len(audio)
        return audio

    def begin_utterance(self) -> None:
        """After an interruption: what is read from now on counts from its own beginning."""
        self.latency.restart()
        self._num_read_before = self._num_read
        self._first_frame = self._num_out

    def note_block(self, block: AudioBlock | IdleBlock) -> None:
        if isinstance(block, IdleBlock):
            self.latency.skip(block.frames)
        else:
            self._first_frame = block.frame_offset
            self.latency.cut(block.frames, block.frame_offset)

    def note_step(self, step: str, frames: range) -> None:
        self.latency.mark(step, frames)

    def choose(self, frames: range) -> list[bool] | None:
        if self._has_open_gates:
            return None
        return self._overload.choose(len(frames), self._budget.lag_s(self._time_s(frames.start)))

    def leaves_out(self, frames: range) -> bool:
        if self._has_open_gates or not len(frames):
            return False
        return self._overload.leave_out(len(frames), self._budget.lag_s(self._time_s(frames.stop)))

    @property
    def shows_idle(self) -> bool:
        return self._overload.policy == "idle"

    def wait_for_turn(self, frames: range, is_current: Callable[[], bool]) -> None:
        while is_current() and not self._has_open_gates:
            self._woken.clear()
            wait_s = self._budget.release_wait_s(self._time_s(frames.start)) if len(frames) else 0.0
            if not wait_s or not is_current() or self._has_open_gates:
                return
            self._woken.wait(wait_s)

    def note_written(self, batch: FrameBatch) -> None:
        missing_frames, missing_samples = (
            batch.frames.start - self._num_written_frames,
            batch.cue.audio_start - self._num_written_samples,
        )
        self._skew_s = self._time_s(missing_frames) - missing_samples / AUDIO_RATE_HZ
        self._num_written_frames += len(batch.frames)
        self._num_written_samples += len(batch.audio)

    def note_out(self, num_frames: int) -> None:
        """The bytes of these frames have left the encoder."""
        self._num_out += num_frames
        self._delivered.add(num_frames)
        self.latency.leave(num_frames)

    def note_clear(self) -> None:
        self._woken.set()
        self.drop_waiting()

    def open_gates(self) -> None:
        self._has_open_gates = True
        self._woken.set()

    def toggle_mute(self) -> bool:
        self._is_muted = not self._is_muted
        return self._is_muted

    def stats(self) -> LiveStats:
        out_s = self._time_s(self._num_out)
        return LiveStats(
            latency=self.latency.figures(),
            delivered_fps=self._delivered.per_s(),
            buffer_s=self._buffer_s(),
            lead_s=-self._budget.lag_s(out_s),
            counts=self._overload.counts,
            silence_share=self._num_silent / max(1, self._num_read),
            skew_ms=1000 * self._skew_s,
            num_overruns=self.count_overruns(),
            num_filled_s=self.count_filled() / AUDIO_RATE_HZ,
            is_muted=self._is_muted,
            targets=tuple(self.health()),
        )

    def _buffer_s(self) -> float:
        """Seconds of the voice that were read and have not left."""
        read_s = (self._num_read - self._num_read_before) / AUDIO_RATE_HZ
        return max(0.0, read_s - max(0.0, self._time_s(self._num_out - self._first_frame)))

    def _time_s(self, frame: int) -> float:
        return float(frame / self._frame_rate)
