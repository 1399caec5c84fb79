"""The latency of a live block: from its last sample to its frames."""

from __future__ import annotations

import time
from bisect import bisect_left
from fractions import Fraction

from musetalk_cli.benchmark.workload.endpoints import PushSource, TimestampSink
from musetalk_cli.benchmark.workload.figures import BlockLatency, Spread
from musetalk_cli.benchmark.workload.speech import speech
from musetalk_cli.benchmark.workload.subject import Subject
from musetalk_cli.engine.pipeline import Pipeline
from musetalk_cli.engine.types.audio import frame_at
from musetalk_cli.engine.types.messages import AUDIO_RATE_HZ
from musetalk_cli.engine.video.encoder import NUM_LATE
from musetalk_cli.errors import StageError

STEP_S = 0.02  # as a microphone delivers audio
SPARE_S = 4.0  # of audio behind the last block: its look-ahead, and what is said while it is made
LONGEST_S = 60.0


class Speaker:
    """Says a voice in real time, but for leaps to where something is measured next."""

    def __init__(self, voice: PushSource, seconds: float) -> None:
        self._voice = voice
        self._audio = speech(seconds)
        self._ends: list[int] = []  # samples said by each moment
        self._times_s: list[float] = []
        self._due_s = 0.0

    def leap_to(self, end: int) -> None:
        """Say everything up to sample ``end`` at once, unless it has been said."""
        if end > self._said:
            self._say(end)
            self._due_s = self._times_s[-1] + STEP_S

    def go_on(self) -> None:
        """Say the next step when it is due."""
        time.sleep(max(0.0, self._due_s - time.perf_counter()))
        self._due_s += STEP_S
        self._say(min(self._said + round(STEP_S * AUDIO_RATE_HZ), len(self._audio)))

    def said_at(self, end: int) -> float:
        """When the sample before ``end`` was said, by ``time.perf_counter()``."""
        return self._times_s[bisect_left(self._ends, end)]

    @property
    def _said(self) -> int:
        return self._ends[-1] if self._ends else 0

    def _say(self, end: int) -> None:
        if end > self._said:
            self._voice.push(self._audio[self._said : end])
        self._ends.append(end)
        self._times_s.append(time.perf_counter())


def measure_latency(subject: Subject, num_blocks: int) -> BlockLatency:
    """Of ``num_blocks`` blocks, each said to its end when the one before is out; a first one is not counted.

    A block's last frame leaves ffmpeg only with the next block, so the last that comes before it is taken. Raises
    MuseTalkError.
    """
    block_s, rate = Fraction(subject.settings.block_s).limit_denominator(1000), subject.settings.frame_rate
    voice, clock = PushSource(), TimestampSink()
    speaker = Speaker(voice, float(block_s) * (num_blocks + 1) + SPARE_S)
    pipeline = subject.build_pipeline(voice, clock)
    spans = []
    try:
        pipeline.start()
        for number in range(num_blocks + 1):
            end = int((number + 1) * block_s * AUDIO_RATE_HZ)
            first, behind = (frame_at((number + k) * block_s, rate) for k in (0, 1))
            speaker.leap_to(end)
            last = max(first, behind - 1 - NUM_LATE)
            _wait_for(pipeline, speaker, clock, last + 1)
            said_s = speaker.said_at(end)
            spans.append((clock.times_s[first] - said_s, clock.times_s[last] - said_s))
        voice.finish()
    finally:
        pipeline.close()
    firsts, lasts = zip(*spans[1:], strict=True)
    return BlockLatency(Spread.of(firsts), Spread.of(lasts))


def _wait_for(pipeline: Pipeline, speaker: Speaker, clock: TimestampSink, num_frames: int) -> None:
    """Speak on until so many frames have come."""
    deadline_s = time.perf_counter() + LONGEST_S
    while len(clock.times_s) < num_frames:
        speaker.go_on()
        if pipeline.error:
            raise pipeline.error
        if time.perf_counter() > deadline_s:
            raise StageError(f"only {len(clock.times_s)} of {num_frames} frames came in {LONGEST_S:.0f} s")
