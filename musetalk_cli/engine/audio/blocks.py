"""Cuts audio into blocks: every sample is in exactly one, and each carries the context that a model asks for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import groupby
from typing import Protocol

import numpy as np

from musetalk_cli.engine.audio.decimation import DECIMATION, Decimator, MonoStream, WholeStream
from musetalk_cli.engine.types.audio import SHORT_LOW_PASS, audio_at, frame_at
from musetalk_cli.engine.types.messages import (
    AUDIO_RATE_HZ,
    MODEL_RATE_HZ,
    AudioArray,
    AudioBlock,
    Cue,
    FeatureBatch,
    FloatArray,
    LowPass,
    WholeVoice,
)

# One frame and the audio that leads it are enough for the MP4 to begin.
NUM_FIRST_FRAMES = 1
# How far the audio on its way to the encoder is ahead of its frames. ffmpeg's MP4 writer lets no frame go before
# there is audio behind it: without a lead, a block's last frames (two or three, measured) wait for the next block.
# From 0.13 s on, only one does; 0.1 s keep up to three back at 50 and 60 frames a second, 0.12 s two (ffmpeg 9).
AUDIO_LEAD_S = 0.15


def count_lead(after_s: float) -> int:
    """48 kHz samples by which the audio leads its frames, with a look-ahead of ``after_s`` seconds."""
    return int(min(AUDIO_LEAD_S, after_s) * AUDIO_RATE_HZ)


class Cutter(Protocol):
    """Cuts a stream of audio into blocks."""

    def push(self, audio: AudioArray) -> Iterator[AudioBlock]:
        """Take in int16 (n, channels) and yield the blocks that became whole."""

    def finish(self) -> Iterator[AudioBlock]:
        """Yield what is left."""


class BlockCutter:
    """Turns a stream of 48 kHz audio into AudioBlocks of one fixed length.

    A block leaves as soon as the look-ahead behind it is there. The last one is padded with silence to full length for
    the model, but holds only its real audio and frames, so that the whole stream has round(duration × frame rate)
    frames (at least one).
    """

    def __init__(
        self,
        block_s: float,
        before_s: float,
        after_s: float,
        frame_rate: Fraction,
        *,
        leads: bool = True,
        low_pass: LowPass = SHORT_LOW_PASS,
        voice: WholeVoice | None = None,
    ) -> None:
        """Begin a stream.

        Args:
            block_s: length of a block in seconds.
            before_s: context in front of it that the model asks for.
            after_s: look-ahead behind it, likewise.
            frame_rate: of the output.
            leads: the audio that a block carries is ahead of its frames by ``count_lead``, otherwise beside them.
            low_pass: the filter in front of the decimation that the model asks for.
            voice: the whole stream's samples and number of frames, to be taken instead of those that follow from its
                audio.
        """
        self._block = round(block_s * MODEL_RATE_HZ)
        self._before = round(before_s * MODEL_RATE_HZ)
        self._after = round(after_s * MODEL_RATE_HZ)
        self._lead = count_lead(after_s) if leads else 0
        self._frame_rate = frame_rate
        self._mono_stream: MonoStream = Decimator(low_pass) if voice is None else WholeStream(voice)
        self._voice = voice
        self._mono = np.zeros(self._before, dtype=np.float32)  # begins ``before`` samples ahead of the next block
        self._audio: AudioArray | None = None  # begins with the next block's
        self._index = 0
        self._num_audio = 0

    def push(self, audio: AudioArray) -> Iterator[AudioBlock]:
        """Take in int16 (n, channels) and yield the blocks that became whole."""
        self._num_audio += len(audio)
        self._audio = audio if self._audio is None else np.concatenate([self._audio, audio])
        self._mono = np.concatenate([self._mono, self._mono_stream.push(audio)])
        while len(self._mono) >= self._before + self._block + self._after:
            yield self._cut(self._frame_at(Fraction((self._index + 1) * self._block, MODEL_RATE_HZ)), None)

    @property
    def num_missing(self) -> int:
        """48 kHz samples after which the next block is whole, at most the filter's delay too many."""
        missing = max(0, self._before + self._block + self._after - len(self._mono))
        return missing * DECIMATION + self._mono_stream.num_delay

    @property
    def waiting_audio(self) -> list[AudioArray]:
        """int16 (n, channels) that no block has carried yet; empty before the first push."""
        return [] if self._audio is None else [self._audio]

    def finish(self) -> Iterator[AudioBlock]:
        """Yield what is left, the last block padded."""
        self._mono = np.concatenate([self._mono, self._mono_stream.finish()])
        total = (
            self._frame_at(Fraction(self._num_audio, AUDIO_RATE_HZ)) if self._voice is None else self._voice.num_frames
        )
        total = max(1, total)
        while self._index * self._block * DECIMATION < self._num_audio:
            missing = self._before + self._block + self._after - len(self._mono)
            self._mono = np.concatenate([self._mono, np.zeros(max(0, missing), np.float32)])
            is_last = self._num_audio <= (self._index + 1) * self._block * DECIMATION
            whole = self._frame_at(Fraction((self._index + 1) * self._block, MODEL_RATE_HZ))
            yield self._cut(total if is_last else whole, self._num_audio)

    def _cut(self, end_frame: int, audio_end: int | None) -> AudioBlock:
        assert self._audio is not None  # noqa: S101 - only called when there is audio
        start = self._index * self._block
        audio_start = start * DECIMATION + self._lead if self._index else 0
        num_audio = (start + self._block) * DECIMATION + self._lead - audio_start
        first_frame = self._frame_at(Fraction(start, MODEL_RATE_HZ))
        block = AudioBlock(
            index=self._index,
            samples=self._mono[: self._before + self._block + self._after].copy(),
            start_s=(start - self._before) / MODEL_RATE_HZ,
            audio=self._audio[:num_audio],
            audio_start=min(audio_start, self._num_audio),  # the lead ends where the audio does
            frames=range(first_frame, end_frame),
            audio_end=audio_end,
            audio_lead=self._lead,
            num_samples=None if self._voice is None or audio_end is None else len(self._voice.samples),
        )
        self._mono = self._mono[self._block :]
        self._audio = self._audio[num_audio:]
        self._index += 1
        return block

    def _frame_at(self, time_s: Fraction) -> int:
        """Frames up to a time, but no more than the stream has."""
        count = frame_at(time_s, self._frame_rate)
        return count if self._voice is None else min(count, max(1, self._voice.num_frames))


def split_runs(
    batch: FeatureBatch, wanted: Sequence[bool], frame_rate: Fraction
) -> Iterator[tuple[FeatureBatch, bool]]:
    """Cut a batch into runs of frames that are all wanted, or all not; each with its own part of the audio."""
    start, cut, origin = 0, 0, audio_at(batch.frames.start, frame_rate)
    for is_wanted, run in groupby(wanted):
        end = start + len(list(run))
        audio_end = len(batch.audio)
        if end < len(wanted):
            audio_end = min(audio_end, audio_at(batch.frames.start + end, frame_rate) - origin)
        yield (
            FeatureBatch(
                batch.features[start:end],
                batch.frames[start:end],
                batch.audio[cut:audio_end],
                batch.avatar_frames[start:end],
                batch.images[start:end],
                batch.cue._replace(
                    first_frame=batch.cue.first_frame + start,
                    audio_start=batch.cue.audio_start + cut,
                    features=batch.features[start:end],
                ),
            ),
            is_wanted,
        )
        start, cut = end, audio_end


def split_block(
    block: AudioBlock, features: FloatArray, batch_size: int, frame_rate: Fraction
) -> Iterator[FeatureBatch]:
    """Cut a block into batches of at most ``batch_size`` frames of the output, each with the audio up to the next one's
    first frame and the lead beyond.

    ``features`` float32 (len(block.frames), d). The last batch takes the rest of the block's audio; a block too short
    to hold a frame gives one batch without any. The stream's first batch is a small one, so that its first frame does
    not wait for others.
    """
    first, stop = block.frames.start, block.frames.stop
    opening = min(batch_size, NUM_FIRST_FRAMES) if block.index == 0 else batch_size
    starts = [first, *range(first + opening, stop, batch_size)]
    cut = 0
    for start, end in zip(starts, [*starts[1:], stop], strict=True):
        until = min(audio_at(end, frame_rate) + block.audio_lead - block.audio_start, len(block.audio))
        audio_end = len(block.audio) if end == stop else until
        yield FeatureBatch(
            features[start - first : end - first],
            range(block.frame_offset + start, block.frame_offset + end),
            block.audio[cut:audio_end],
            cue=Cue(
                block.epoch,
                block.utterance,
                first_frame=start,
                audio_start=block.audio_offset + block.audio_start + cut,
                features=features[start - first : end - first],
            ),
        )
        cut = audio_end
