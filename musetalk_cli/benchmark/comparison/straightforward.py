"""A pipeline without any optimisation, as a competent first version has it.

Nothing here is slowed down on purpose. Each part stands for one habit of such a version and can be used alone.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import numpy as np

from musetalk_cli.engine.audio.blocks import Cutter, split_block
from musetalk_cli.engine.audio.decimation import Decimator
from musetalk_cli.engine.audio.sources import AudioSource
from musetalk_cli.engine.avatar.avatar import Avatar
from musetalk_cli.engine.avatar.cycle import avatar_frame
from musetalk_cli.engine.live.hooks import RunHooks
from musetalk_cli.engine.models.base import LipSyncModel
from musetalk_cli.engine.pipeline import PipelineSettings
from musetalk_cli.engine.runtime.stage import Aborted, RunState
from musetalk_cli.engine.types.audio import SHORT_LOW_PASS, frame_at
from musetalk_cli.engine.types.messages import (
    AUDIO_RATE_HZ,
    MODEL_RATE_HZ,
    AudioArray,
    AudioBlock,
    FeatureBatch,
    FrameBatch,
    IdleBlock,
    LowPass,
)
from musetalk_cli.engine.video.compositing import composite
from musetalk_cli.engine.video.output import FrameWriter

# Pieces as a speech synthesiser or a browser's recorder sends them; their ends fall on the models' 40 ms.
SHORTEST_PIECE_S, LONGEST_PIECE_S = 0.2, 0.9
GRID_S = 0.04


def draw_pieces(num_samples: int, seed: int = 0) -> list[int]:
    """Where the pieces of ``num_samples`` at 48 kHz end, drawn at random."""
    rng = np.random.default_rng(seed)
    grid = round(GRID_S * AUDIO_RATE_HZ)
    least, most = round(SHORTEST_PIECE_S / GRID_S), round(LONGEST_PIECE_S / GRID_S)
    ends = [0]
    while (left := num_samples - ends[-1]) > most * grid:
        ends.append(ends[-1] + grid * int(rng.integers(least, min(most, left // grid - least) + 1)))
    return [*ends[1:], num_samples]


class PieceCutter:
    """Every piece of audio that arrives is a block by itself, with silence around it in place of context."""

    def __init__(
        self, ends: list[int], before_s: float, after_s: float, frame_rate: Fraction, low_pass: LowPass = SHORT_LOW_PASS
    ) -> None:
        """Cut at fixed places.

        Args:
            ends: in samples at 48 kHz; all but the last on multiples of 40 ms.
            before_s: silence in front of every piece.
            after_s: silence behind it.
            frame_rate: of the output.
            low_pass: the filter in front of the decimation.
        """
        self._low_pass = low_pass
        self._ends = ends
        self._before = round(before_s * MODEL_RATE_HZ)
        self._after = round(after_s * MODEL_RATE_HZ)
        self._frame_rate = frame_rate
        self._audio: AudioArray = np.zeros((0, 1), np.int16)
        self._start = 0
        self._index = 0

    def push(self, audio: AudioArray) -> Iterator[AudioBlock]:
        self._audio = np.concatenate([self._audio, audio])
        while self._index < len(self._ends) and len(self._audio) >= self._ends[self._index] - self._start:
            yield self._cut(self._ends[self._index])

    def finish(self) -> Iterator[AudioBlock]:
        if len(self._audio):
            yield self._cut(self._start + len(self._audio))

    def _cut(self, end: int) -> AudioBlock:
        start, count = self._start, end - self._start
        audio, self._audio = self._audio[:count], self._audio[count:]
        decimator = Decimator(self._low_pass)
        middle = np.concatenate([decimator.push(audio), decimator.finish()])
        silence = [np.zeros(length, np.float32) for length in (self._before, self._after)]
        block = AudioBlock(
            index=self._index,
            samples=np.concatenate([silence[0], middle, silence[1]]),
            start_s=start / AUDIO_RATE_HZ - self._before / MODEL_RATE_HZ,
            audio=audio,
            audio_start=start,
            frames=range(self._frame(start), max(1, self._frame(end))),
            audio_end=end,
        )
        self._start, self._index = end, self._index + 1
        return block

    def _frame(self, sample: int) -> int:
        return frame_at(Fraction(sample, AUDIO_RATE_HZ), self._frame_rate)


def run_in_turn(
    source: AudioSource,
    cutter: Cutter,
    model: LipSyncModel,
    avatar: Avatar,
    writer: FrameWriter,
    state: RunState,
    settings: PipelineSettings,
) -> None:
    """One loop: read until a block is whole, make its features, then batch after batch faces, frames, encoder.

    Nothing of ours runs beside it; ffmpeg does, being a program of its own. The writer is closed in any case.

    Args:
        source: An opened source of audio.
        cutter: Makes blocks of it.
        model: Makes features of a block, and faces of those.
        avatar: Whose frames the faces go into, in the size of the video.
        writer: Takes the finished frames.
        state: The run's; it is aborted at the end, which frees whoever still waits.
        settings: The batch size and the frame rate are used.

    Raises:
        MuseTalkError: The first failure.
    """
    rate = settings.frame_rate
    try:
        writer.start()
        for block in _read_blocks(source, cutter):
            features = model.features(block)
            for batch in split_block(block, features, settings.batch_size, rate):
                writer.write(composite(model.make_faces(_with_images(batch, avatar, rate))))
        writer.finish()
        for stage in writer.stages:
            stage.join()
    except Aborted:
        pass  # why, the state knows
    finally:
        state.abort()  # frees whoever still waits, and is nothing after a proper end
        writer.close()
    if state.error:
        raise state.error


def _read_blocks(source: AudioSource, cutter: Cutter) -> Iterator[AudioBlock]:
    while (audio := source.read()) is not None:
        yield from cutter.push(audio)
    yield from cutter.finish()


def _with_images(batch: FeatureBatch, avatar: Avatar, frame_rate: Fraction) -> FeatureBatch:
    count = avatar.frames.num_frames
    indices = tuple(avatar_frame(frame, frame_rate, avatar.frame_rate, count) for frame in batch.frames)
    return replace(batch, avatar_frames=indices, images=tuple(avatar.frames.read(indices)))


class BlockByBlock(RunHooks):
    """A pipeline that reads the next block only when this one's frames are all with the encoder."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._num_begun = 0  # frames of all blocks so far
        self._num_written = 0
        self._is_open = False

    def process_audio(self, audio: AudioArray) -> AudioArray:
        with self._changed:
            self._changed.wait_for(lambda: self._num_written >= self._num_begun or self._is_open)
        return audio

    def note_block(self, block: AudioBlock | IdleBlock) -> None:
        self._num_begun = block.frames.stop

    def note_written(self, batch: FrameBatch) -> None:
        with self._changed:
            self._num_written = batch.frames.stop
            self._changed.notify_all()

    def open_gates(self) -> None:
        with self._changed:
            self._is_open = True
            self._changed.notify_all()
