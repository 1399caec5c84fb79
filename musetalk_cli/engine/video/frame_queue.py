"""Finished frames that wait to be taken, each with exactly its audio, no sooner than the clock lets them go."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np

from musetalk_cli.engine.outputs.sinks import Sink
from musetalk_cli.engine.runtime.stage import Aborted, RunState, Stage
from musetalk_cli.engine.runtime.timing import StageTimer
from musetalk_cli.engine.types.audio import audio_at
from musetalk_cli.engine.types.messages import AudioArray, ByteArray, FrameBatch
from musetalk_cli.engine.video.output import OnLeft, ignore_left

DEPTH_FRAMES = 16  # beyond the lead: some batches of every worker
# A taker who falls behind so far while the queue is full did not want the frames meanwhile: the clock waits for it.
MAX_BEHIND_S = 0.5


class Clock(Protocol):
    """Seconds of the output that should have been shown by now."""

    def read(self) -> float: ...

    def pause(self, duration_s: float) -> None:
        """The last ``duration_s`` seconds did not count."""


@dataclass(frozen=True)
class QueuedFrame:
    """A finished frame with its own audio.

    ``number`` in the output; ``image`` planar I420, uint8 (height · 3/2, width); ``audio`` int16 (n, channels), 48 kHz.
    ``utterance``: whose frame it is, None for an idle one; ``utterance_frame``: its number in it.
    """

    number: int
    image: ByteArray
    audio: AudioArray
    utterance: int | None
    utterance_frame: int


class FrameQueue:
    """FrameOutput and its FrameWriter: the pipeline writes, one other thread takes.

    Frames go no sooner than ``lead_s`` seconds before the clock shows them.
    """

    is_reader_gone = is_complete = False
    first_fragment_at: float | None = None

    def __init__(self, frame_rate: Fraction, num_channels: int, clock: Clock, lead_s: float) -> None:
        self.num_bytes = 0
        self.num_frames = 0
        self.first_byte_at: float | None = None
        self.stages: Sequence[Stage] = ()
        self._frame_rate = frame_rate
        self._clock = clock
        self._lead_s = lead_s
        self._changed = threading.Condition()
        self._frames: deque[tuple[int, ByteArray, int | None, int]] = deque()
        self._audio: AudioArray = np.zeros((0, num_channels), np.int16)
        self._next_frame = 0  # the first that was not taken; the audio begins with it
        self._epoch = 0
        self._is_finished = False
        self._state = RunState()

    def attach(self, sink: Sink, state: RunState, timer: StageTimer, on_left: OnLeft = ignore_left) -> FrameQueue:
        """``on_left`` is not called: who takes the frames knows which have left."""
        self._state = state
        state.on_abort(self.wake)
        return self

    def start(self) -> None:
        pass

    def write(self, batch: FrameBatch) -> None:
        with self._changed:
            self._changed.wait_for(
                lambda: len(self._frames) < DEPTH_FRAMES or batch.cue.epoch != self._epoch or self._state.is_aborted
            )
            if self._state.is_aborted:
                raise Aborted("frames")
            if batch.cue.epoch != self._epoch:
                return
            for index, image in enumerate(batch.images):
                number = batch.frames.start + index
                self._frames.append((number, image, batch.cue.utterance, batch.cue.first_frame + index))
            self._audio = np.concatenate([self._audio, batch.audio])
            self._changed.notify_all()

    def take(self, timeout_s: float | None = None) -> QueuedFrame | None:
        """The next frame, waiting for it and for its time; None when the run has ended or ``timeout_s`` is over."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self._changed:
            was_full = len(self._frames) >= DEPTH_FRAMES
            while not self._state.is_aborted:
                wait_s = self._wait_s()
                if wait_s is not None and wait_s <= 0:
                    return self._pop(was_full)
                if wait_s is None and self._is_finished and not self._frames:
                    return None
                left_s = None if deadline is None else deadline - time.monotonic()
                if left_s is not None and left_s <= 0:
                    return None
                self._changed.wait(min((each for each in (wait_s, left_s) if each is not None), default=None))
            return None

    def drop(self) -> tuple[int, int]:
        with self._changed:
            self._frames.clear()
            self._audio = self._audio[:0]
            self._epoch += 1
            self._changed.notify_all()
            return self._next_frame, audio_at(self._next_frame, self._frame_rate)

    def finish(self) -> None:
        with self._changed:
            self._is_finished = True
            self._changed.notify_all()

    def cut(self) -> None:
        self.drop()
        self.finish()

    def close(self) -> None:
        with self._changed:
            self._frames.clear()  # what refers to this queue may live on until the garbage is collected
            self._changed.notify_all()

    def wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    @property
    def is_ended(self) -> bool:
        """Whether nothing more will be taken."""
        with self._changed:
            return self._state.is_aborted or (self._is_finished and not self._frames)

    def _wait_s(self) -> float | None:
        """Seconds until the next frame may go, None while it or its audio is not there."""
        num_samples = self._num_samples()
        if not self._frames or (len(self._audio) < num_samples and not self._is_finished):
            return None
        return float(self._next_frame / self._frame_rate) - self._lead_s - self._clock.read()

    def _pop(self, was_full: bool) -> QueuedFrame:
        number, image, utterance, utterance_frame = self._frames.popleft()
        num_samples = self._num_samples()
        audio, self._audio = self._audio[:num_samples], self._audio[num_samples:]
        missing = num_samples - len(audio)  # of the very last frame
        if missing:
            audio = np.concatenate([audio, np.zeros((missing, audio.shape[1]), np.int16)])
        behind_s = self._clock.read() - float(number / self._frame_rate) + min(0.0, self._lead_s)
        if was_full and behind_s > MAX_BEHIND_S:
            self._clock.pause(behind_s)
        self._next_frame = number + 1
        self.num_frames += 1
        self._changed.notify_all()
        return QueuedFrame(number, image, audio, utterance, utterance_frame)

    def _num_samples(self) -> int:
        """Of the next frame's audio."""
        return audio_at(self._next_frame + 1, self._frame_rate) - audio_at(self._next_frame, self._frame_rate)
