"""The voice that was planned and may not have been handed out, and how it fades out where it is interrupted."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from musetalk_cli.engine.live.utterance import Utterance
from musetalk_cli.engine.types.messages import AUDIO_RATE_HZ, AudioArray, AudioBlock

FADE_SAMPLES = AUDIO_RATE_HZ // 50  # 20 ms


class PlannedVoice:
    """Remembers planned blocks until all of their audio has been handed out."""

    def __init__(self, num_channels: int) -> None:
        self._num_channels = num_channels
        self._blocks: deque[AudioBlock] = deque()
        self._last_fade: tuple[int, AudioArray] | None = None  # with the sample of the output at which it begins

    def add(self, block: AudioBlock) -> None:
        """A block has been planned."""
        self._blocks.append(block)

    def hand_out(self, sample: int) -> None:
        """The output's audio before ``sample`` has left."""
        while self._blocks and begin_of(self._blocks[0]) + len(self._blocks[0].audio) <= sample:
            self._blocks.popleft()

    def interrupt(self, sample: int, unfinished: Sequence[Utterance]) -> AudioArray | None:
        """Forget everything; the voice from ``sample`` of the output on, int16 (n, channels), fading out.

        None where no voice has left before. ``unfinished`` utterances have been planned in part.
        """
        fade = self._cut(sample, unfinished)
        self._blocks.clear()
        self._last_fade = None if fade is None else (sample, fade)
        return fade

    def _cut(self, sample: int, unfinished: Sequence[Utterance]) -> AudioArray | None:
        number = self._find_speaking(sample, unfinished)
        if number is None:
            return self._rest_of_fade(sample)
        own = [each for each in self._blocks if each.utterance == number]
        parts = [each.audio[max(0, sample - begin_of(each)) :] for each in own]
        parts += [each.waiting_audio() for each in unfinished if each.number == number]
        voice = np.concatenate([np.zeros((0, self._num_channels), np.int16), *parts])[:FADE_SAMPLES]
        ramp = np.linspace(1.0, 0.0, FADE_SAMPLES, endpoint=False)[: len(voice), None]
        return np.asarray(np.rint(voice * ramp), np.int16) if len(voice) else None

    def _find_speaking(self, sample: int, unfinished: Sequence[Utterance]) -> int | None:
        """The utterance that speaks on both sides of a sample of the output."""
        for block in self._blocks:
            if block.audio_offset < sample and begin_of(block) <= sample < begin_of(block) + len(block.audio):
                return block.utterance
        return next((each.number for each in unfinished if each.audio_offset < sample), None)

    def _rest_of_fade(self, sample: int) -> AudioArray | None:
        """What has not been handed out of an interruption's fade when the next one comes."""
        if self._last_fade is None:
            return None
        begin, fade = self._last_fade
        rest = fade[sample - begin :] if sample >= begin else fade[:0]
        return rest if len(rest) else None


def begin_of(block: AudioBlock) -> int:
    """The output's sample with which a planned block's audio begins."""
    return block.audio_offset + block.audio_start
