"""Cuts audio into blocks: every sample is in exactly one, and each carries the context that a model asks for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import groupby
from typing import Protocol

import numpy as np

from musetalk_cli.engine.audio.downmix import Downmix
from musetalk_cli.engine.types.audio import audio_at, frame_at
from musetalk_cli.engine.types.messages import (
    AUDIO_RATE_HZ,
    MODEL_RATE_HZ,
    AudioArray,
    AudioBlock,
    Cue,
    FeatureBatch,
    FloatArray,
)

DECIMATION = AUDIO_RATE_HZ // MODEL_RATE_HZ
# Half the length of the low-pass in front of the decimation, in 48 kHz samples: 1 ms of delay, and 70 dB below the
# pass band at 9 kHz, where aliased speech could first change what the model takes it for.
HALF_TAPS = 48
CUTOFF_HZ = 7_300
KAISER_BETA = 7.0
# One frame and the audio that leads it are enough for the MP4 to begin.
NUM_FIRST_FRAMES = 1
# How far the audio on its way to the encoder is ahead of its frames. ffmpeg's MP4 writer lets no frame go before
# there is audio behind it: without a lead, a block's last frames (two or three, measured) wait for the next block.
# From 0.13 s on, only one does; 0.1 s keep up to three back at 50 and 60 frames a second, 0.12 s two (ffmpeg 9).
AUDIO_LEAD_S = 0.15


def count_lead(after_s: float) -> int:
    """48 kHz samples by which the audio leads its frames, with a look-ahead of ``after_s`` seconds."""
    return int(min(AUDIO_LEAD_S, after_s) * AUDIO_RATE_HZ)


class Decimator:
    """48 kHz int16 (n, channels) → 16 kHz float32 mono in ±1; the result does not depend on how the input is cut.

    A linear-phase windowed-sinc low-pass (Kaiser), evaluated only at every third sample, with no delay in the result:
    output m stands at input 3 m.
    """

    def __init__(self) -> None:
        taps = np.arange(-HALF_TAPS, HALF_TAPS + 1)
        kernel = np.sinc(2 * CUTOFF_HZ / AUDIO_RATE_HZ * taps) * np.kaiser(len(taps), KAISER_BETA)
        self._kernel = (kernel / kernel.sum()).astype(np.float32)
        self._waiting = np.zeros(HALF_TAPS, dtype=np.float32)
        self._downmix = Downmix()
        self._num_in = 0
        self._num_out = 0

    def push(self, audio: AudioArray) -> FloatArray:
        """The samples that can be made so far."""
        self._num_in += len(audio)
        mono = self._downmix.push(audio) / np.float32(32768.0)
        return self._filter(np.concatenate([self._waiting, mono]))

    def finish(self) -> FloatArray:
        """The rest, as if silence followed."""
        total = -(-self._num_in // DECIMATION)
        missing = total - self._num_out
        return self._filter(np.concatenate([self._waiting, np.zeros(2 * HALF_TAPS, np.float32)]))[:missing]

    def _filter(self, padded: FloatArray) -> FloatArray:
        num_out = max(0, (len(padded) - 2 * HALF_TAPS - 1) // DECIMATION + 1)
        out = np.zeros(num_out, dtype=np.float32)
        # One tap after the other over whole slices: the order of the additions, and so the result to the last bit,
        # is the same for every cut. A matrix product would sum differently for different lengths.
        for tap, weight in enumerate(self._kernel if num_out else ()):
            out += weight * padded[tap : tap + DECIMATION * (num_out - 1) + 1 : DECIMATION]
        self._waiting = padded[DECIMATION * num_out :]
        self._num_out += num_out
        return out


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
        self, block_s: float, before_s: float, after_s: float, frame_rate: Fraction, *, leads: bool = True
    ) -> None:
        """Begin a stream.

        Args:
            block_s: length of a block in seconds.
            before_s: context in front of it that the model asks for.
            after_s: look-ahead behind it, likewise.
            frame_rate: of the output.
            leads: the audio that a block carries is ahead of its frames by ``count_lead``, otherwise beside them.
        """
        self._block = round(block_s * MODEL_RATE_HZ)
        self._before = round(before_s * MODEL_RATE_HZ)
        self._after = round(after_s * MODEL_RATE_HZ)
        self._lead = count_lead(after_s) if leads else 0
        self._frame_rate = frame_rate
        self._decimator = Decimator()
        self._mono = np.zeros(self._before, dtype=np.float32)  # begins ``before`` samples ahead of the next block
        self._audio: AudioArray | None = None  # begins with the next block's
        self._index = 0
        self._num_audio = 0

    def push(self, audio: AudioArray) -> Iterator[AudioBlock]:
        """Take in int16 (n, channels) and yield the blocks that became whole."""
        self._num_audio += len(audio)
        self._audio = audio if self._audio is None else np.concatenate([self._audio, audio])
        self._mono = np.concatenate([self._mono, self._decimator.push(audio)])
        while len(self._mono) >= self._before + self._block + self._after:
            yield self._cut(frame_at(Fraction((self._index + 1) * self._block, MODEL_RATE_HZ), self._frame_rate), None)

    @property
    def num_missing(self) -> int:
        """48 kHz samples after which the next block is whole, at most a millisecond too many."""
        return max(0, self._before + self._block + self._after - len(self._mono)) * DECIMATION + HALF_TAPS

    @property
    def waiting_audio(self) -> list[AudioArray]:
        """int16 (n, channels) that no block has carried yet; empty before the first push."""
        return [] if self._audio is None else [self._audio]

    def finish(self) -> Iterator[AudioBlock]:
        """Yield what is left, the last block padded."""
        self._mono = np.concatenate([self._mono, self._decimator.finish()])
        total = max(1, frame_at(Fraction(self._num_audio, AUDIO_RATE_HZ), self._frame_rate))
        while self._index * self._block * DECIMATION < self._num_audio:
            missing = self._before + self._block + self._after - len(self._mono)
            self._mono = np.concatenate([self._mono, np.zeros(max(0, missing), np.float32)])
            is_last = self._num_audio <= (self._index + 1) * self._block * DECIMATION
            whole = frame_at(Fraction((self._index + 1) * self._block, MODEL_RATE_HZ), self._frame_rate)
            yield self._cut(total if is_last else whole, self._num_audio)

    def _cut(self, end_frame: int, audio_end: int | None) -> AudioBlock:
        assert self._audio is not None  # noqa: S101 - only called when there is audio
        start = self._index * self._block
        audio_start = start * DECIMATION + self._lead if self._index else 0
        num_audio = (start + self._block) * DECIMATION + self._lead - audio_start
        first_frame = frame_at(Fraction(start, MODEL_RATE_HZ), self._frame_rate)
        block = AudioBlock(
            index=self._index,
            samples=self._mono[: self._before + self._block + self._after].copy(),
            start_s=(start - self._before) / MODEL_RATE_HZ,
            audio=self._audio[:num_audio],
            audio_start=min(audio_start, self._num_audio),  # the lead ends where the audio does
            frames=range(first_frame, end_frame),
            audio_end=audio_end,
            audio_lead=self._lead,
        )
        self._mono = self._mono[self._block :]
        self._audio = self._audio[num_audio:]
        self._index += 1
        return block


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
