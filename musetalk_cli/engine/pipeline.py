"""The one place that knows the order of the stages: it builds, starts, stops and ends them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from functools import partial
from math import ceil
from typing import NamedTuple

import numpy as np

from musetalk_cli.engine.audio.block_feed import BlockFeed, Interruptible, ProcessAudio, SourceFeed, Spoken
from musetalk_cli.engine.audio.blocks import BlockCutter, split_block, split_runs
from musetalk_cli.engine.audio.sources import AudioSource
from musetalk_cli.engine.avatar.avatar import Avatar
from musetalk_cli.engine.avatar.cycle import avatar_frame, cycle_index, double_turn_index
from musetalk_cli.engine.live.hooks import RunHooks
from musetalk_cli.engine.live.left_batches import LeftBatches
from musetalk_cli.engine.models.base import LipSyncModel
from musetalk_cli.engine.outputs.sinks import Sink
from musetalk_cli.engine.runtime.stage import Channel, RunState, Stage
from musetalk_cli.engine.runtime.stats import Snapshot
from musetalk_cli.engine.runtime.timing import StageTimer
from musetalk_cli.engine.runtime.worker_pool import WorkerPool
from musetalk_cli.engine.types.messages import (
    AudioBlock,
    ByteArray,
    Cue,
    Deadline,
    FaceBatch,
    FeatureBatch,
    FloatArray,
    FrameBatch,
    HeldBatch,
    IdleBlock,
    WholeVoice,
)
from musetalk_cli.engine.video.compositing import composite
from musetalk_cli.engine.video.output import FrameOutput, ignore_left
from musetalk_cli.errors import SessionError

CLOSE_S = 0.12  # an interrupted mouth closes in this time
STAGES = ("decode", "features", "avatar", "model", "composite", "encode")


class PipelineSettings(NamedTuple):
    """How the stages are set: ``block_s`` seconds a block, at most ``buffer_blocks`` blocks decoded ahead, and
    ``num_workers`` batches of ``batch_size`` frames made at the same time. ``has_double_turns``: an avatar that runs
    forward and back shows its first and last frame twice."""

    block_s: float
    buffer_blocks: int
    batch_size: int
    num_workers: int
    frame_rate: Fraction
    has_double_turns: bool = False


def read_whole(
    source: AudioSource,
    model: LipSyncModel,
    settings: PipelineSettings,
    process: ProcessAudio = lambda audio: audio,
    voice: WholeVoice | None = None,
) -> SourceFeed:
    """The feed of a source that is read from its beginning to its end, in blocks with the context of the model.

    Args:
        source: the audio.
        model: says how much context its blocks have.
        settings: their length, and the frame rate.
        process: sees all samples, and may replace them.
        voice: as ``BlockCutter`` takes it.
    """
    cutter = BlockCutter(
        settings.block_s,
        model.before_s,
        model.after_s,
        settings.frame_rate,
        low_pass=model.low_pass,
        voice=voice,
    )
    return SourceFeed(source, cutter, process)


class Pipeline:
    """feed → blocks → features → workers → compositing → encoder → sink.

    The pipeline owns its parts from construction on. Call ``start``, then ``wait`` until it says True, then ``close``;
    ``error`` is the first failure. ``stop`` delivers what is in flight, ``cut`` ends the output behind what the encoder
    has, ``abort`` drops that too, ``clear`` interrupts the voice and goes on; all may be called from any thread.
    """

    def __init__(
        self,
        feed: BlockFeed,
        model: LipSyncModel,
        avatar: Avatar,
        encoder: FrameOutput,
        sink: Sink,
        settings: PipelineSettings,
        started_at: float,
        hooks: RunHooks | None = None,
    ) -> None:
        """Build all stages; nothing runs yet.

        Args:
            feed: gives the blocks; what it reads is open.
            model: bound to the avatar.
            avatar: in the output's size.
            encoder: takes the finished frames.
            sink: takes what the encoder makes of them.
            settings: how the stages are set.
            started_at: when the command began, by ``time.perf_counter()``.
            hooks: how the run goes against a clock; by default not at all.
        """
        self._feed = feed
        self._model = model
        self._avatar = avatar
        self._settings = settings
        self._started_at = started_at
        self._ended_at: float | None = None
        self._is_left = False  # closed, while a thread still computes
        self._hooks = hooks or RunHooks()
        self._turn = threading.Lock()  # held while it is decided whether frames leave, or are dropped
        self._next_frame = self._next_sample = 0  # of the output: the first that have not left
        self._last_image: ByteArray | None = None
        self._left = LeftBatches()
        self._state = RunState()
        self._timers = {name: StageTimer() for name in STAGES}
        on_left = feed.hand_out if isinstance(feed, Interruptible) else ignore_left
        self._encoder = encoder.attach(sink, self._state, self._timers["encode"], on_left)
        self._state.on_abort(feed.stop)
        self._state.on_abort(self._hooks.open_gates)
        self._blocks: Channel[AudioBlock | IdleBlock] = Channel("blocks", settings.buffer_blocks, self._state)
        self._workers = WorkerPool(self._make_faces, settings.num_workers, self._state)
        self._stages = [
            Stage("source", self._read_blocks, self._state),
            Stage("features", self._make_features, self._state),
            Stage("compositing", self._composite, self._state),
        ]

    def begin_now(self) -> None:
        """Count the run's time from now on: for one that was built ahead."""
        self._started_at = time.perf_counter()

    def start(self) -> None:
        self._encoder.start()
        for stage in self._stages:
            stage.start()

    def stop(self) -> None:
        """Let the source end; what has been read is delivered and the output ends properly."""
        self._state.is_stopped = True
        self._feed.stop()
        self._hooks.open_gates()

    def cut(self) -> None:
        """End the output properly behind the frames that the encoder has; drop what is under way to it."""
        self._state.is_stopped = True
        self._encoder.cut()
        self._feed.stop()
        self._blocks.cut()
        self._workers.cut()
        self._hooks.open_gates()

    def toggle_mute(self) -> bool:
        """Make the voice silent, or audible again; whether it is silent now. Only a live stream can."""
        return self._hooks.toggle_mute()

    def clear(self) -> list[Spoken]:
        """Interrupt the voice: drop what has not left, let the mouth close, and go on. Only a live feed can.

        Returns the utterances that end with it, and how much of each has left.
        """
        if not isinstance(self._feed, Interruptible):
            raise SessionError("a voice that is read from its beginning to its end cannot be interrupted")
        with self._turn:
            self._next_frame, self._next_sample = self._encoder.drop() or (self._next_frame, self._next_sample)
            spoken = self._feed.clear(self._next_frame, self._next_sample, self._close_mouth(self._next_frame - 1))
        self._hooks.note_clear()
        return spoken

    def abort(self) -> None:
        """Drop what is in flight."""
        self._state.abort()

    def wait(self, timeout_s: float) -> bool:
        """True once every stage has ended."""
        deadline = time.perf_counter() + timeout_s
        is_ended = all(
            part.join(max(0.0, deadline - time.perf_counter())) for part in (*self._stages, *self._encoder.stages)
        )
        if is_ended and self._ended_at is None:
            self._ended_at = time.perf_counter()
        return is_ended

    def wait_computed(self, timeout_s: float) -> bool:
        """True once every frame has been handed to the encoder, which may still be at work."""
        deadline = time.perf_counter() + timeout_s
        return all(stage.join(max(0.0, deadline - time.perf_counter())) for stage in self._stages)

    @property
    def is_delivered(self) -> bool:
        """Whether the output has ended; what was cut off may still be under way."""
        return all(stage.join(0) for stage in self._encoder.stages)

    def close(self, timeout_s: float | None = None) -> None:
        """End whatever still runs and release it all. Safe after any ending, or before a start.

        Args:
            timeout_s: how long to wait for each thread that still computes; the avatar of one that goes on beyond that
                is not released. For a process that is about to end.
        """
        if self._is_left:
            return
        if not self.wait(0):
            self._state.abort()
        is_idle = self._workers.close(timeout_s)
        self._encoder.close()
        self._is_left = not all(stage.join(timeout_s) for stage in self._stages) or not is_idle
        if not self._is_left:
            self._avatar.close()
        self._feed.close()

    @property
    def error(self) -> BaseException | None:
        """The first failure of any stage."""
        return self._state.error

    @property
    def is_reader_gone(self) -> bool:
        """Whether the run ended because the reader of the output closed it."""
        return self._encoder.is_reader_gone

    @property
    def is_complete(self) -> bool:
        """Whether the output came to its end, uninterrupted, and is in its place."""
        return self._encoder.is_complete

    def snapshot(self) -> Snapshot:
        """The run's figures at this moment."""
        elapsed_s = (self._ended_at or time.perf_counter()) - self._started_at
        media_s = float(self._encoder.num_frames / self._settings.frame_rate)
        return Snapshot(
            elapsed_s=elapsed_s,
            model=self._model.name,
            num_frames=self._encoder.num_frames,
            num_silent=self._model.num_silent,
            total_s=self._feed.duration_s,
            media_s=media_s,
            speed=media_s / elapsed_s,
            num_bytes=self._encoder.num_bytes,
            time_to_first_byte_s=self._since_start(self._encoder.first_byte_at),
            time_to_first_fragment_s=self._since_start(self._encoder.first_fragment_at),
            stages={name: timer.timing() for name, timer in self._timers.items()},
            live=self._hooks.stats(),
        )

    def time_s(self, num_frames: int) -> float:
        """How long so many frames of the output last, in seconds."""
        return float(num_frames / self._settings.frame_rate)

    def _since_start(self, moment: float | None) -> float | None:
        return None if moment is None else moment - self._started_at

    def _read_blocks(self) -> None:
        # What was read before a voice breaks off is still delivered; the error is told at the end.
        for block in self._feed.blocks(self._timers["decode"], lambda error: self._state.record("source", error)):
            if self._feed.is_current(block.epoch):
                self._hooks.note_block(block)
            self._blocks.put(block)
        self._blocks.finish()

    def _make_features(self) -> None:
        for block in self._blocks:
            if not self._feed.is_current(block.epoch):
                continue
            for work in self._plan(block):
                self._workers.submit(work)
        self._workers.finish()

    def _plan(self, block: AudioBlock | IdleBlock) -> Iterator[FeatureBatch | HeldBatch]:
        """Batches for the workers, with all that they need."""
        if isinstance(block, IdleBlock):
            yield self._with_images(self._idle_batch(block))
            return
        frames = range(block.frame_offset + block.frames.start, block.frame_offset + block.frames.stop)
        if self._hooks.leaves_out(frames):
            self._hooks.note_step("features", frames)
            yield self._hold(block, frames)
            return
        with self._timers["features"].measure(len(block.frames)):
            features = self._model.features(block)
        self._hooks.note_step("features", frames)
        for batch in split_block(block, features, self._settings.batch_size, self._settings.frame_rate):
            yield self._with_images(batch)

    def _idle_batch(self, block: IdleBlock) -> FeatureBatch:
        features = block.features
        if features is None:
            features = np.zeros((len(block.frames), self._model.num_features), np.float32)
        cue = Cue(block.epoch, utterance=None, audio_start=block.audio_start, features=block.features)
        return FeatureBatch(features, block.frames, block.audio, cue=cue, is_idle=block.features is None)

    def _with_images(self, batch: FeatureBatch) -> FeatureBatch:
        """Add the avatar frames that a batch shows: here, where one thread takes them in the order of the cycle."""
        indices = self._avatar_frames(batch.frames)
        with self._timers["avatar"].measure(len(indices)):
            images = tuple(self._avatar.frames.read(indices))
        return replace(batch, avatar_frames=indices, images=images)

    def _hold(self, block: AudioBlock, frames: range) -> HeldBatch:
        """A block for which nothing is made, with one frame in case that there is none before it."""
        images = self._avatar.frames.read(self._avatar_frames(frames[:1]))
        cue = Cue(block.epoch, block.utterance, block.frames.start, block.audio_offset + block.audio_start)
        return HeldBatch(tuple(images) * len(frames), frames, block.audio, cue)

    def _avatar_frames(self, frames: range) -> tuple[int, ...]:
        avatar, rate = self._avatar, self._settings.frame_rate
        cycle = double_turn_index if self._settings.has_double_turns else cycle_index
        return tuple(avatar_frame(frame, rate, avatar.frame_rate, avatar.frames.num_frames, cycle) for frame in frames)

    def _make_faces(self, batch: FeatureBatch | HeldBatch) -> list[FaceBatch | HeldBatch]:
        if isinstance(batch, HeldBatch):
            return [batch]
        if not self._feed.is_current(batch.cue.epoch):
            return []
        if batch.is_idle:
            return [replace(self._model.make_idle(batch), cue=batch.cue)]
        wanted = self._hooks.choose(batch.frames)
        if wanted is None or all(wanted):
            return [self._make_face(batch)]
        return [
            self._make_face(part) if is_wanted else self._leave_out(part)
            for part, is_wanted in split_runs(batch, wanted, self._settings.frame_rate)
        ]

    def _make_face(self, batch: FeatureBatch) -> FaceBatch:
        due_at = self._hooks.due_at(batch.frames)
        if due_at is not None:
            batch = replace(batch, deadline=Deadline(due_at, partial(self._is_wanted, batch.cue.epoch)))
        with self._timers["model"].measure(len(batch.frames)):
            return replace(self._model.make_faces(batch), cue=batch.cue)

    def _is_wanted(self, epoch: int) -> bool:
        return not self._state.is_aborted and self._feed.is_current(epoch)

    def _leave_out(self, batch: FeatureBatch) -> FaceBatch | HeldBatch:
        if self._hooks.shows_idle:
            return replace(self._model.make_idle(batch), cue=batch.cue)
        return HeldBatch(batch.images, batch.frames, batch.audio, batch.cue)

    def _composite(self) -> None:
        for batches in self._workers.results():
            for batch in batches:
                self._hooks.note_step("model", batch.frames)
                with self._timers["composite"].measure(len(batch.frames)):
                    frames = self._finish_frames(batch)
                self._hooks.wait_for_turn(batch.frames, partial(self._feed.is_current, batch.cue.epoch))
                if self._takes_turn(frames):
                    self._hooks.note_step("composite", frames.frames)
                    self._encoder.write(frames)
                    self._hooks.note_written(frames)
        self._encoder.finish()

    def _takes_turn(self, batch: FrameBatch) -> bool:
        """Whether finished frames go to the encoder now; from then on, only that can drop them."""
        with self._turn:
            if not self._feed.is_current(batch.cue.epoch):
                return False
            self._left.add(batch)
            self._next_frame = batch.frames.stop
            self._next_sample = batch.cue.audio_start + len(batch.audio)
        if batch.images:
            self._last_image = batch.images[-1]
        return True

    def _finish_frames(self, batch: FaceBatch | HeldBatch) -> FrameBatch:
        if isinstance(batch, FaceBatch):
            return composite(batch)
        images = batch.images if self._last_image is None else (self._last_image,) * len(batch.frames)
        return FrameBatch(images, batch.audio, batch.frames, batch.cue)

    def _close_mouth(self, frame: int) -> FloatArray | None:
        """Features of a mouth that closes from how the output's ``frame`` has it; None where it is shut."""
        features = self._left.features_at(frame)
        if features is None:
            return None
        return self._model.close_mouth(features, max(1, ceil(CLOSE_S * self._settings.frame_rate)))
