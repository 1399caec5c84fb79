"""One utterance: a voice that is pushed in parts, and the blocks that become whole."""

from __future__ import annotations

import time
from collections import deque

import numpy as np

from musetalk_cli.engine.audio.blocks import BlockCutter
from musetalk_cli.engine.types.messages import AUDIO_RATE_HZ, AudioArray, AudioBlock

PIECE_SAMPLES = AUDIO_RATE_HZ // 2  # of a voice are cut at once, so that a long one does not delay its first block


class Utterance:
    """A voice from its first sample to its end, cut into blocks on a grid of its own."""

    def __init__(self, number: int, num_channels: int, cutter: BlockCutter) -> None:
        self.number = number
        self.is_ended = False
        self.began_at = self.pushed_at = time.monotonic()  # the first push, the last one
        self.num_waiting = 0  # samples that have been pushed and are in no planned block yet
        self.first_frame: int | None = None  # of the output, once its first block is planned
        self.end_frame: int | None = None  # likewise its last
        self.audio_offset = 0
        self._num_channels = num_channels
        self._cutter = cutter
        self._pushed: deque[AudioArray] = deque()
        self._blocks: deque[AudioBlock] = deque()
        self._is_cut = False

    def push(self, audio: AudioArray) -> None:
        self.pushed_at = time.monotonic()
        self._pushed.append(audio)
        self.num_waiting += len(audio)

    def fill(self) -> int:
        """Complete the next block with silence; how many samples that took."""
        missing = max(1, self._cutter.num_missing)
        self._pushed.append(np.zeros((missing, self._num_channels), np.int16))
        self.num_waiting += missing
        return missing

    def next_block(self) -> AudioBlock | None:
        """The next block, if it is whole."""
        self._cut()
        if not self._blocks:
            return None
        block = self._blocks.popleft()
        self.num_waiting -= len(block.audio)
        return block

    def waiting_audio(self) -> AudioArray:
        """What has been pushed and is in no planned block yet, as far as it is needed to fade out."""
        nothing = np.zeros((0, self._num_channels), np.int16)
        uncut = self._cutter.waiting_audio
        return np.concatenate([nothing, *(block.audio for block in self._blocks), *uncut, *self._pushed])

    def has_block(self) -> bool:
        """Whether ``next_block`` has one."""
        self._cut()
        return bool(self._blocks)

    def count_frames(self, frame: int) -> int:
        """How many of its frames the output has before ``frame``."""
        if self.first_frame is None:
            return 0
        end = frame if self.end_frame is None else min(frame, self.end_frame)
        return max(0, end - self.first_frame)

    @property
    def is_over(self) -> bool:
        """Whether its last block has been taken."""
        return self._is_cut and not self._blocks

    def _cut(self) -> None:
        """Cut until a block is whole, or nothing is left to be cut."""
        while not self._blocks and self._pushed:
            audio = self._pushed.popleft()
            if len(audio) > PIECE_SAMPLES:
                self._pushed.appendleft(audio[PIECE_SAMPLES:])
            self._blocks.extend(self._cutter.push(audio[:PIECE_SAMPLES]))
        if not self._blocks and self.is_ended and not self._is_cut:
            self._is_cut = True
            self._blocks.extend(self._cutter.finish())
