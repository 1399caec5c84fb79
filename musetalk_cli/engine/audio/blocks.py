"""Cutting the voice into blocks: every sample is in exactly one, and each carries the context a model asks for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import groupby
from typing import Protocol

import numpy as np

from musetalk_cli.engine.types.messages import (
    MODEL_RATE_HZ,
    SOUND_RATE_HZ,
    AudioBlock,
    FeatureBatch,
    FloatArray,
    SoundArray,
)

DECIMATION = SOUND_RATE_HZ // MODEL_RATE_HZ
# Half the length of the low-pass in front of the decimation, in 48 kHz samples: 1 ms of delay, and 70 dB below the
# pass band at 9 kHz, where speech that folds back could first be heard as something else.
HALF_TAPS = 48
CUTOFF_HZ = 7_300
KAISER_BETA = 7.0
# One picture and the sound that leads it are enough for the MP4 to begin.
NUM_FIRST_FRAMES = 1
# How far the sound on its way to the encoder is ahead of its pictures. ffmpeg's MP4 writer lets no picture go before
# there is sound behind it: without a lead, a block's last pictures (two or three, measured) wait for the next block.
# From 0.13 s on, only one does; 0.1 s keep up to three back at 50 and 60 pictures a second, 0.12 s two (ffmpeg 9).
SOUND_LEAD_S = 0.15


def frame_at(time_s: Fraction, frame_rate: Fraction) -> int:
    """Number of frames in ``time_s`` seconds, to the nearest, halves up."""
    return int(time_s * frame_rate + Fraction(1, 2))


def sound_at(frame: int, frame_rate: Fraction) -> int:
    """Index of the 48 kHz sample with which a frame begins."""
    return int(frame / frame_rate * SOUND_RATE_HZ)


def count_lead(after_s: float) -> int:
    """48 kHz samples by which the sound leads its pictures, with a look-ahead of ``after_s`` seconds."""
    return int(min(SOUND_LEAD_S, after_s) * SOUND_RATE_HZ)


class Decimator:
    """48 kHz int16 (n, channels) → 16 kHz float32 mono in ±1; the result does not depend on how the input is cut.

    A linear-phase windowed-sinc low-pass (Kaiser), evaluated only at every third sample, with no delay in the result:
    output m stands at input 3 m.
    """

    def __init__(self) -> None:
        taps = np.arange(-HALF_TAPS, HALF_TAPS + 1)
        kernel = np.sinc(2 * CUTOFF_HZ / SOUND_RATE_HZ * taps) * np.kaiser(len(taps), KAISER_BETA)
        self._kernel = (kernel / kernel.sum()).astype(np.float32)
        self._waiting = np.zeros(HALF_TAPS, dtype=np.float32)
        self._num_in = 0
        self._num_out = 0

    def push(self, sound: SoundArray) -> FloatArray:
        """The samples that can be made so far."""
        self._num_in += len(sound)
        mono = sound.astype(np.float32).mean(axis=1) / 32768.0
        return self._filter(np.concatenate([self._waiting, mono.astype(np.float32)]))

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
    """Cuts a stream of sound into blocks."""

    def push(self, sound: SoundArray) -> Iterator[AudioBlock]:
        """Take in int16 (n, channels) and yield the blocks that became whole."""

    def finish(self) -> Iterator[AudioBlock]:
        """Yield what is left."""


class BlockCutter:
    """Turns a stream of 48 kHz sound into AudioBlocks of one fixed length.

    A block leaves as soon as ``after_s`` seconds behind it are there; with ``leads``, the sound that it carries is
    ahead of its frames by ``count_lead``, otherwise beside them. The last one is padded with silence to full length for
    the model, but holds only its real sound and frames, so that the whole stream has round(duration × frame rate)
    frames (at least one).
    """

    def __init__(
        self, block_s: float, before_s: float, after_s: float, frame_rate: Fraction, *, leads: bool = True
    ) -> None:
        self._block = round(block_s * MODEL_RATE_HZ)
        self._before = round(before_s * MODEL_RATE_HZ)
        self._after = round(after_s * MODEL_RATE_HZ)
        self._lead = count_lead(after_s) if leads else 0
        self._frame_rate = frame_rate
        self._decimator = Decimator()
        self._mono = np.zeros(self._before, dtype=np.float32)  # begins ``before`` samples ahead of the next block
        self._sound: SoundArray | None = None  # begins with the next block's
        self._index = 0
        self._num_sound = 0

    def push(self, sound: SoundArray) -> Iterator[AudioBlock]:
        """Take in int16 (n, channels) and yield the blocks that became whole."""
        self._num_sound += len(sound)
        self._sound = sound if self._sound is None else np.concatenate([self._sound, sound])
        self._mono = np.concatenate([self._mono, self._decimator.push(sound)])
        while len(self._mono) >= self._before + self._block + self._after:
            yield self._cut(frame_at(Fraction((self._index + 1) * self._block, MODEL_RATE_HZ), self._frame_rate), None)

    def finish(self) -> Iterator[AudioBlock]:
        """Yield what is left, the last block padded."""
        self._mono = np.concatenate([self._mono, self._decimator.finish()])
        total = max(1, frame_at(Fraction(self._num_sound, SOUND_RATE_HZ), self._frame_rate))
        while self._index * self._block * DECIMATION < self._num_sound:
            missing = self._before + self._block + self._after - len(self._mono)
            self._mono = np.concatenate([self._mono, np.zeros(max(0, missing), np.float32)])
            is_last = self._num_sound <= (self._index + 1) * self._block * DECIMATION
            whole = frame_at(Fraction((self._index + 1) * self._block, MODEL_RATE_HZ), self._frame_rate)
            yield self._cut(total if is_last else whole, self._num_sound)

    def _cut(self, end_frame: int, sound_end: int | None) -> AudioBlock:
        assert self._sound is not None  # noqa: S101 - only called when there is sound
        start = self._index * self._block
        sound_start = start * DECIMATION + self._lead if self._index else 0
        num_sound = (start + self._block) * DECIMATION + self._lead - sound_start
        first_frame = frame_at(Fraction(start, MODEL_RATE_HZ), self._frame_rate)
        block = AudioBlock(
            index=self._index,
            samples=self._mono[: self._before + self._block + self._after].copy(),
            start_s=(start - self._before) / MODEL_RATE_HZ,
            sound=self._sound[:num_sound],
            sound_start=sound_start,
            frames=range(first_frame, end_frame),
            sound_end=sound_end,
            sound_lead=self._lead,
        )
        self._mono = self._mono[self._block :]
        self._sound = self._sound[num_sound:]
        self._index += 1
        return block


def split_runs(
    batch: FeatureBatch, wanted: Sequence[bool], frame_rate: Fraction
) -> Iterator[tuple[FeatureBatch, bool]]:
    """Cut a batch into runs of frames that are all wanted, or all not; each with its own part of the sound."""
    start, cut, origin = 0, 0, sound_at(batch.frames.start, frame_rate)
    for is_wanted, run in groupby(wanted):
        end = start + len(list(run))
        sound_end = sound_at(batch.frames.start + end, frame_rate) - origin if end < len(wanted) else len(batch.sound)
        yield (
            FeatureBatch(
                batch.features[start:end],
                batch.frames[start:end],
                batch.sound[cut:sound_end],
                batch.avatar_frames[start:end],
                batch.pictures[start:end],
            ),
            is_wanted,
        )
        start, cut = end, sound_end


def split_block(
    block: AudioBlock, features: FloatArray, batch_size: int, frame_rate: Fraction
) -> Iterator[FeatureBatch]:
    """Cut a block into batches of at most ``batch_size`` frames, each with the sound up to the next one's first frame
    and the lead beyond.

    ``features`` float32 (len(block.frames), d). The last batch takes the rest of the block's sound; a block too short
    to hold a frame gives one batch without any. The stream's first batch is a small one, so that its first picture does
    not wait for others.
    """
    first, stop = block.frames.start, block.frames.stop
    opening = min(batch_size, NUM_FIRST_FRAMES) if block.index == 0 else batch_size
    starts = [first, *range(first + opening, stop, batch_size)]
    cut = 0
    for start, end in zip(starts, [*starts[1:], stop], strict=True):
        until = sound_at(end, frame_rate) + block.sound_lead - block.sound_start
        sound_end = len(block.sound) if end == stop else until
        yield FeatureBatch(features[start - first : end - first], range(start, end), block.sound[cut:sound_end])
        cut = sound_end
