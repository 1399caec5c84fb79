"""One run of the whole pipeline, warmed up first, so that its steady rate is measured."""

from __future__ import annotations

import time
from fractions import Fraction
from math import ceil

from musetalk_cli.benchmark.workload.endpoints import PushSource, TimestampSink
from musetalk_cli.benchmark.workload.speech import speech
from musetalk_cli.benchmark.workload.subject import Subject
from musetalk_cli.engine.types.audio import frame_at
from musetalk_cli.engine.types.messages import AUDIO_RATE_HZ, AudioArray

TICK_S = 0.05
QUIET_S = 0.1  # without a frame: all that are made have come, but for the late ones
MOST_LATE = 4  # more than ever wait for the next block, even where the look-ahead allows the audio little lead
# As a decoder returns audio; the first block must not wait for the end of a long voice.
PUSH_SAMPLES = AUDIO_RATE_HZ // 2
LEAST_LEAD_S = 1.0
HEAD_MARGIN_S = 0.01  # what resampling to 16 kHz holds back


class PipelineRun:
    """A pipeline that is given all of its audio at once. ``close`` it, whatever happened."""

    def __init__(self, subject: Subject) -> None:
        self.clock = TimestampSink()
        self.started_s = self.spoke_s = time.perf_counter()
        self._subject = subject
        self._voice = PushSource()
        self._num_before = 0
        self._pipeline = subject.build_pipeline(self._voice, self.clock)
        self._pipeline.start()

    def bring_up(self) -> None:
        """Have a block made, or several short ones, and wait for it. Raises MuseTalkError.

        ffmpeg takes as long to start as a hundred frames take to make, and meanwhile the queues would fill.
        """
        settings, after_s = self._subject.settings, self._subject.model.after_s
        block_s = Fraction(settings.block_s).limit_denominator(1000)
        lead_s = ceil(LEAST_LEAD_S / block_s) * block_s
        self._voice.push(speech(float(lead_s) + after_s + HEAD_MARGIN_S))
        self._num_before = frame_at(lead_s, settings.frame_rate)
        while not self.clock.wait_for(max(1, self._num_before - MOST_LATE), TICK_S):
            self.check()
        while self.clock.wait_for(len(self.clock.times_s) + 1, QUIET_S):
            pass

    def speak(self, audio: AudioArray) -> None:
        """Give all of it, and end. The clock of ``fps`` starts."""
        self.spoke_s = time.perf_counter()
        for at in range(0, len(audio), PUSH_SAMPLES):
            self._voice.push(audio[at : at + PUSH_SAMPLES])
        self._voice.finish()

    def wait(self) -> None:
        """Until everything is delivered. Raises MuseTalkError."""
        while not self._pipeline.wait(TICK_S):
            pass
        self.check()

    def check(self) -> None:
        """Raise what went wrong."""
        if self._pipeline.error:
            raise self._pipeline.error

    def close(self) -> None:
        """End what still runs and release it."""
        self._pipeline.close()

    @property
    def num_frames(self) -> int:
        """Of what was said since ``speak``."""
        return len(self.clock.times_s) - self._num_before

    @property
    def fps(self) -> float:
        """Frames per second from ``speak`` to the last of them."""
        return self.num_frames / (self.clock.times_s[-1] - self.spoke_s)
