"""What every frame of a live run shows: utterances that were pushed, one after the other, and idle frames between.

One clock, the sample count, runs through all of it: an interruption or an utterance that is late moves the voice, never
the clock. Nothing here starts a thread.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from musetalk_cli.engine.audio.block_feed import Spoken
from musetalk_cli.engine.audio.blocks import BlockCutter
from musetalk_cli.engine.live.planned_voice import PlannedVoice, begin_of
from musetalk_cli.engine.live.utterance import Utterance
from musetalk_cli.engine.types.audio import SHORT_LOW_PASS, audio_at
from musetalk_cli.engine.types.messages import AUDIO_RATE_HZ, AudioArray, AudioBlock, FloatArray, IdleBlock, LowPass
from musetalk_cli.errors import QueueFullError, SessionError

FOREVER_S = 3600.0
MAX_QUEUED_S = 120.0  # of voice that waits; beyond it, ``push`` waits or raises
# An utterance that was neither continued nor ended for this long is taken as ended.
PAUSE_S = 1.0
MAX_UTTERANCES = 1000  # that wait: however short they are, each takes memory, and a frame's time


@dataclass(frozen=True)
class TimelineSettings:
    """``block_s`` seconds a block, with the ``before_s`` and ``after_s`` around it that the model asks for.

    ``low_pass``: the filter that it asks for. ``leads``: audio goes ahead of its frames as BlockCutter has it.
    ``is_idle_first``: with no voice, idle frames are planned as they fall due; otherwise a voice that is not there
    yet is waited for, until the first interruption. ``fills``: where a voice that has begun is ``patience_s`` late,
    silence takes its place; a source that fills its own gaps needs none of it. ``max_queued_s`` seconds of voice
    may wait. The run ends after ``num_frames``, if that is not None.
    """

    frame_rate: Fraction
    num_channels: int
    block_s: float
    before_s: float
    after_s: float
    leads: bool = False
    low_pass: LowPass = SHORT_LOW_PASS
    is_idle_first: bool = True
    fills: bool = True
    patience_s: float = 0.0
    max_queued_s: float = MAX_QUEUED_S
    num_frames: int | None = None


class Timeline:
    """Plans the output frame by frame. Any thread may push, end and clear; one thread takes.

    ``due_s`` says how many seconds are left until an idle frame of a number should be planned, 0 or less for now.
    """

    def __init__(self, settings: TimelineSettings, due_s: Callable[[int], float]) -> None:
        self.num_filled = 0  # samples of silence in place of a voice that was late
        self._settings = settings
        self._due_s = due_s
        self._changed = threading.Condition(threading.RLock())
        self._waiting: deque[Utterance] = deque()  # not planned to their end yet
        self._planned: deque[Utterance] = deque()  # planned, at least in part, and not handed out to their end
        self._voice = PlannedVoice(settings.num_channels)
        self._closing: FloatArray | None = None
        self._fade: AudioArray | None = None
        self._epoch = 0
        self._num_utterances = 0
        self._next_frame = 0
        self._next_sample = 0
        self._shows_idle = settings.is_idle_first
        self._is_finished = self._is_cancelled = False
        self._limit = math.inf if settings.num_frames is None else settings.num_frames

    def push(self, audio: AudioArray, epoch: int | None = None, *, begins: bool = True) -> bool:
        """Add voice, int16 (n, channels) at 48 kHz, waiting while too much of it waits for its turn.

        Returns False, with nothing added, where the voice has been interrupted since ``epoch``, or has ended and this
        ``begins`` no other utterance. Raises SessionError after ``finish`` or ``cancel``.
        """
        with self._changed:
            epoch = self._epoch if epoch is None else epoch
            self._changed.wait_for(lambda: self._has_room() or self._is_over() or epoch != self._epoch)
            self._check_open()
            if epoch != self._epoch or not (begins or self._is_open()):
                return False
            self._open_utterance().push(audio)
            self._changed.notify_all()
            return True

    @property
    def epoch(self) -> int:
        """How often the voice has been interrupted."""
        return self._epoch

    @property
    def last_utterance(self) -> int | None:
        """The number of the utterance that was pushed to last, None before the first."""
        with self._changed:
            return self._num_utterances - 1 if self._num_utterances else None

    def check_open(self) -> None:
        """Raise SessionError where nothing more can be pushed."""
        with self._changed:
            self._check_open()

    def check_room(self, duration_s: float) -> None:
        """Raise QueueFullError where so much more may not wait."""
        if len(self._waiting) >= MAX_UTTERANCES:
            raise QueueFullError(f"{MAX_UTTERANCES} utterances are waiting", hint="end utterances where a voice pauses")
        if self.queued_s + duration_s > self._settings.max_queued_s:
            raise QueueFullError(
                f"{self.queued_s:.1f} s of voice are waiting, and {self._settings.max_queued_s:.0f} s may",
                hint="push no faster than it is spoken, or let push wait",
            )

    def end_utterance(self) -> None:
        """The voice ends here: what its last frames need behind them is silence."""
        with self._changed:
            if self._waiting:
                self._waiting[-1].is_ended = True
            self._changed.notify_all()

    def finish(self) -> None:
        """End the utterance, and the run with it."""
        with self._changed:
            self._is_finished = True
            if self._waiting:
                self._waiting[-1].is_ended = True
            self._changed.notify_all()

    def cancel(self) -> None:
        """End the run now; wakes everybody who waits."""
        with self._changed:
            self._is_cancelled = True
            self._changed.notify_all()

    def clear(self, frame: int, sample: int, closing: FloatArray | None) -> list[Spoken]:
        """Drop all voice that was not handed out: the output goes on with ``frame``, and with ``sample`` of its audio.

        Args:
            frame: the first output frame that was not handed out.
            sample: the first output sample at 48 kHz that was not handed out.
            closing: features float32 (n, d) of a mouth that closes from the shape that it has, None if it is shut.

        Returns:
            The utterances that end here, in their order.
        """
        with self._changed:
            dropped = dict.fromkeys((*self._planned, *self._waiting))
            spoken = [Spoken(each.number, each.count_frames(frame)) for each in dropped]
            self._fade = self._voice.interrupt(sample, [each for each in self._planned if each.end_frame is None])
            self._closing = closing
            self._waiting.clear()
            self._planned.clear()
            self._epoch += 1
            self._shows_idle = True
            self._next_frame, self._next_sample = frame, sample
            self._changed.notify_all()
            return spoken

    def is_current(self, epoch: int) -> bool:
        return epoch == self._epoch

    def hand_out(self, frame: int) -> list[Spoken]:
        """All output frames before this one have left; the utterances that ended with them."""
        with self._changed:
            self._voice.hand_out(self._audio_at(frame))
            ended = []
            while self._planned and self._planned[0].end_frame is not None and self._planned[0].end_frame <= frame:
                utterance = self._planned.popleft()
                ended.append(Spoken(utterance.number, utterance.count_frames(frame)))
            return ended

    @property
    def queued_s(self) -> float:
        """Seconds of voice that wait to be planned."""
        with self._changed:
            return sum(each.num_waiting for each in self._waiting) / AUDIO_RATE_HZ

    def pushed_at(self, utterance: int) -> float | None:
        """When the first samples of an utterance came, by ``time.monotonic()``; None where it is neither planned nor
        waiting."""
        with self._changed:
            known = (each.began_at for each in (*self._planned, *self._waiting) if each.number == utterance)
            return next(known, None)

    def take(self) -> AudioBlock | IdleBlock | None:
        """What comes next, waiting until it is there or due; None at the end. For one thread."""
        with self._changed:
            while not self.is_ended:
                planned = self.poll()
                if planned is not None:
                    return planned
                self._changed.wait(max(0.0, self._wait_s()))
            return None

    def poll(self) -> AudioBlock | IdleBlock | None:
        """As ``take``, without waiting: None also where nothing is there or due."""
        with self._changed:
            while not self.is_ended:
                planned = self._plan_closing() or self._plan_voice()
                if planned is None and not self.is_ended and self._wait_s() <= 0:
                    if self._gives_up():
                        continue
                    planned = self._plan_idle(1)
                return None if planned is None else self._cut_off(planned)
            return None

    @property
    def is_ended(self) -> bool:
        """Whether nothing more will be planned."""
        is_said = self._is_finished and not self._waiting and self._closing is None and self._fade is None
        return is_said or self._is_cancelled or self._next_frame >= self._limit

    def _cut_off(self, block: AudioBlock | IdleBlock) -> AudioBlock | IdleBlock:
        """A planned block up to the run's last frame."""
        if self._next_frame < self._limit:
            return block
        offset, begin = (
            (block.frame_offset, begin_of(block)) if isinstance(block, AudioBlock) else (0, block.audio_start)
        )
        frames = range(block.frames.start, min(block.frames.stop, int(self._limit) - offset))
        return replace(block, frames=frames, audio=block.audio[: max(0, self._audio_at(int(self._limit)) - begin)])

    def _plan_voice(self) -> AudioBlock | IdleBlock | None:
        """The next whole block of the first utterance that has one; where its audio would begin within a frame, the
        idle frames up to the next one come first."""
        while self._waiting:
            utterance = self._waiting[0]
            num_frames = self._count_frames_to(self._next_sample)
            if num_frames and utterance.first_frame is None and utterance.has_block():
                return self._plan_idle(num_frames)
            block = utterance.next_block()
            if block is not None:
                return self._place(utterance, block)
            if not utterance.is_over:
                return None
            utterance.end_frame = self._next_frame
            self._waiting.popleft()
            self._changed.notify_all()
        return None

    def _place(self, utterance: Utterance, block: AudioBlock) -> AudioBlock:
        if utterance.first_frame is None:
            utterance.first_frame = self._next_frame
            utterance.audio_offset = self._next_sample
            self._planned.append(utterance)
        placed = replace(
            block,
            frame_offset=utterance.first_frame,
            audio_offset=utterance.audio_offset,
            epoch=self._epoch,
            utterance=utterance.number,
        )
        self._next_frame = utterance.first_frame + block.frames.stop
        if not utterance.has_block() and utterance.is_over:
            utterance.end_frame = self._next_frame
            self._waiting.popleft()
            placed = self._fill_last_frame(placed) if self._shows_idle else placed
        self._next_sample = begin_of(placed) + len(placed.audio)
        self._voice.add(placed)
        self._changed.notify_all()  # there is room again
        return placed

    def _fill_last_frame(self, block: AudioBlock) -> AudioBlock:
        """An utterance's last block, with audio up to the end of its last frame."""
        missing = self._audio_at(self._next_frame) - begin_of(block) - len(block.audio)
        silence = np.zeros((max(0, missing), self._settings.num_channels), np.int16)
        return replace(block, audio=np.concatenate([block.audio, silence]))

    def _plan_closing(self) -> IdleBlock | None:
        """After an interruption: the voice fades out, and the mouth closes."""
        features, fade = self._closing, self._fade
        if features is None and fade is None:
            return None
        self._closing = self._fade = None
        num_faded = 0 if fade is None else self._count_frames_to(self._next_sample + len(fade))
        num_frames = max(1, num_faded) if features is None else len(features)
        return self._plan_idle(num_frames, features, fade)

    def _plan_idle(
        self, num_frames: int, features: FloatArray | None = None, begins_with: AudioArray | None = None
    ) -> IdleBlock:
        frames = range(self._next_frame, self._next_frame + num_frames)
        start = self._next_sample
        # Where the audio leads, it has passed these frames already, and still fades out.
        num_faded = 0 if begins_with is None else len(begins_with)
        num_samples = max(num_faded, self._audio_at(frames.stop) - start)
        audio = np.zeros((num_samples, self._settings.num_channels), np.int16)
        if begins_with is not None:
            audio[:num_faded] = begins_with
        self._next_frame, self._next_sample = frames.stop, start + len(audio)
        return IdleBlock(frames, audio, start, self._epoch, features)

    def _wait_s(self) -> float:
        """Seconds until something has to be planned though no block is whole; 0 or less for now."""
        due_s = self._due_s(self._next_frame)
        if self._waiting and self._waiting[0].first_frame is not None:
            return due_s + self._settings.patience_s if self._settings.fills else FOREVER_S
        return due_s if self._shows_idle else FOREVER_S

    def _gives_up(self) -> bool:
        """Whether an utterance that is late got silence, or its end; otherwise the frame is an idle one."""
        utterance = self._waiting[0] if self._waiting else None
        if utterance is None or not self._settings.fills:
            return False
        if time.monotonic() - utterance.pushed_at > PAUSE_S:
            utterance.is_ended = True
            return True
        if utterance.first_frame is None:
            return False
        self.num_filled += utterance.fill()
        return True

    def _open_utterance(self) -> Utterance:
        if not self._is_open():
            own = self._settings
            cutter = BlockCutter(
                own.block_s, own.before_s, own.after_s, own.frame_rate, leads=own.leads, low_pass=own.low_pass
            )
            self._waiting.append(Utterance(self._num_utterances, own.num_channels, cutter))
            self._num_utterances += 1
        return self._waiting[-1]

    def _is_open(self) -> bool:
        """Whether the utterance that was pushed to last goes on."""
        return bool(self._waiting) and not self._waiting[-1].is_ended

    def _check_open(self) -> None:
        if self._is_over():
            raise SessionError("nothing more can be said: it has been closed")

    def _is_over(self) -> bool:
        return self._is_finished or self._is_cancelled

    def _has_room(self) -> bool:
        if len(self._waiting) >= MAX_UTTERANCES and not self._is_open():
            return False
        return sum(each.num_waiting for each in self._waiting) < self._settings.max_queued_s * AUDIO_RATE_HZ

    def _audio_at(self, frame: int) -> int:
        return audio_at(frame, self._settings.frame_rate)

    def _count_frames_to(self, sample: int) -> int:
        """Frames from the next one on until one begins with ``sample`` or later."""
        return max(0, math.ceil(sample * self._settings.frame_rate / AUDIO_RATE_HZ) - self._next_frame)
