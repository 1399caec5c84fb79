"""The one place that knows the order of the stages: it builds, starts, stops and ends them."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from fractions import Fraction

from musetalk_cli.engine.audio.blocks import BlockCutter, Cutter, split_block, split_runs
from musetalk_cli.engine.audio.sources import AudioSource
from musetalk_cli.engine.avatar.avatar import Avatar
from musetalk_cli.engine.avatar.cycle import avatar_frame, cycle_index, double_turn_index
from musetalk_cli.engine.live.hooks import RunHooks
from musetalk_cli.engine.models.base import LipSyncModel
from musetalk_cli.engine.outputs.sinks import Sink
from musetalk_cli.engine.runtime.stage import Channel, RunState, Stage
from musetalk_cli.engine.runtime.stats import Snapshot
from musetalk_cli.engine.runtime.timing import StageTimer
from musetalk_cli.engine.runtime.worker_pool import WorkerPool
from musetalk_cli.engine.types.messages import AudioBlock, ByteArray, FaceBatch, FeatureBatch, FrameBatch, HeldBatch
from musetalk_cli.engine.video.compositing import composite
from musetalk_cli.engine.video.output import FrameOutput
from musetalk_cli.errors import SourceError

STAGES = ("decode", "features", "avatar", "model", "composite", "encode")


@dataclass(frozen=True)
class PipelineSettings:
    """How the stages are set: ``block_s`` seconds a block, at most ``buffer_blocks`` blocks decoded ahead, and
    ``num_workers`` batches of ``batch_size`` frames made at the same time. ``has_double_turns``: an avatar that runs
    forward and back shows its first and last frame twice."""

    block_s: float
    buffer_blocks: int
    batch_size: int
    num_workers: int
    frame_rate: Fraction
    has_double_turns: bool = False


class Pipeline:
    """source → blocks → features → workers → compositing → encoder → sink.

    The source must be open; the pipeline owns it, the avatar (in the output's size) and the encoder's process from then
    on. Call ``start``, then ``wait`` until it says True, then ``close``; ``error`` is the first failure. ``stop``
    delivers what is in flight, ``abort`` drops it; both may be called from any thread. ``pace`` says how it runs
    against a clock, by default not at all; ``cutter`` makes the blocks, by default of the settings' length.
    """

    def __init__(
        self,
        source: AudioSource,
        model: LipSyncModel,
        avatar: Avatar,
        encoder: FrameOutput,
        sink: Sink,
        settings: PipelineSettings,
        started_at: float,
        pace: RunHooks | None = None,
        cutter: Cutter | None = None,
    ) -> None:
        self._source = source
        self._model = model
        self._avatar = avatar
        self._settings = settings
        self._started_at = started_at
        self._ended_at: float | None = None
        self._pace = pace or RunHooks()
        self._cutter = cutter or BlockCutter(settings.block_s, model.before_s, model.after_s, settings.frame_rate)
        self._last_image: ByteArray | None = None
        self._state = RunState()
        self._timers = {name: StageTimer() for name in STAGES}
        self._encoder = encoder.attach(sink, self._state, self._timers["encode"])
        self._state.on_abort(source.stop)
        self._state.on_abort(self._pace.open_gates)
        self._blocks: Channel[AudioBlock] = Channel("blocks", settings.buffer_blocks, self._state)
        self._workers = WorkerPool(self._make_faces, settings.num_workers, self._state)
        self._stages = [
            Stage("source", self._read_blocks, self._state),
            Stage("features", self._make_features, self._state),
            Stage("compositing", self._composite, self._state),
        ]

    def start(self) -> None:
        self._encoder.start()
        for stage in self._stages:
            stage.start()

    def stop(self) -> None:
        """Let the source end; what has been read is delivered and the output ends properly."""
        self._state.is_stopped = True
        self._source.stop()
        self._pace.open_gates()

    def toggle_mute(self) -> bool:
        """Make the voice silent, or heard again; whether it is silent now. Only a live stream can."""
        return self._pace.toggle_mute()

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

    def close(self) -> None:
        """End whatever still runs and release it all. Safe after any ending, or before a start."""
        if not self.wait(0):
            self._state.abort()
        self._workers.close()
        self._encoder.close()
        for stage in self._stages:
            stage.join()
        self._avatar.close()
        self._source.close()

    @property
    def error(self) -> BaseException | None:
        """The first failure of any stage."""
        return self._state.error

    @property
    def is_reader_gone(self) -> bool:
        """Whether the run ended because the reader of the output closed it."""
        return self._encoder.is_reader_gone

    def snapshot(self) -> Snapshot:
        """The run's figures at this moment."""
        elapsed_s = (self._ended_at or time.perf_counter()) - self._started_at
        media_s = float(self._encoder.num_frames / self._settings.frame_rate)
        return Snapshot(
            elapsed_s=elapsed_s,
            model=self._model.name,
            num_frames=self._encoder.num_frames,
            num_silent=self._model.num_silent,
            total_s=self._source.duration_s,
            media_s=media_s,
            speed=media_s / elapsed_s,
            num_bytes=self._encoder.num_bytes,
            time_to_first_byte_s=self._since_start(self._encoder.first_byte_at),
            time_to_first_fragment_s=self._since_start(self._encoder.first_fragment_at),
            stages={name: timer.timing() for name, timer in self._timers.items()},
            live=self._pace.figures(),
        )

    def _since_start(self, moment: float | None) -> float | None:
        return None if moment is None else moment - self._started_at

    def _read_blocks(self) -> None:
        cutter = self._cutter
        is_ended = False
        while not is_ended:
            started = time.perf_counter()
            try:
                audio = self._source.read()
            except SourceError as error:
                # What was read before the voice broke off is still delivered; the error is told at the end.
                self._state.record("source", error)
                audio = None
            is_ended = audio is None
            blocks = list(cutter.finish() if audio is None else cutter.push(self._pace.hear(audio)))
            self._timers["decode"].add(time.perf_counter() - started, sum(len(block.frames) for block in blocks))
            for block in blocks:
                self._pace.note_block(block.frames)
                self._blocks.put(block)
        self._blocks.finish()

    def _make_features(self) -> None:
        for block in self._blocks:
            if self._pace.leaves_out(block.frames):
                self._pace.note_step("features", block.frames)
                self._workers.submit(self._hold(block))
                continue
            with self._timers["features"].measure(len(block.frames)):
                features = self._model.features(block)
            self._pace.note_step("features", block.frames)
            for batch in split_block(block, features, self._settings.batch_size, self._settings.frame_rate):
                self._workers.submit(self._with_images(batch))
        self._workers.finish()

    def _with_images(self, batch: FeatureBatch) -> FeatureBatch:
        """Add the avatar frames that a batch shows: here, where one thread takes them in the order of the cycle."""
        indices = self._avatar_frames(batch.frames)
        with self._timers["avatar"].measure(len(indices)):
            images = tuple(self._avatar.frames.read(indices))
        return replace(batch, avatar_frames=indices, images=images)

    def _hold(self, block: AudioBlock) -> HeldBatch:
        """A block for which nothing is made, with one frame in case that there is none before it."""
        images = self._avatar.frames.read(self._avatar_frames(block.frames[:1]))
        return HeldBatch(tuple(images) * len(block.frames), block.frames, block.audio)

    def _avatar_frames(self, frames: range) -> tuple[int, ...]:
        avatar, rate = self._avatar, self._settings.frame_rate
        cycle = double_turn_index if self._settings.has_double_turns else cycle_index
        return tuple(avatar_frame(frame, rate, avatar.frame_rate, avatar.frames.num_frames, cycle) for frame in frames)

    def _make_faces(self, batch: FeatureBatch | HeldBatch) -> list[FaceBatch | HeldBatch]:
        if isinstance(batch, HeldBatch):
            return [batch]
        wanted = self._pace.choose(batch.frames)
        if wanted is None or all(wanted):
            return [self._make_face(batch)]
        return [
            self._make_face(part) if is_wanted else self._leave_out(part)
            for part, is_wanted in split_runs(batch, wanted, self._settings.frame_rate)
        ]

    def _make_face(self, batch: FeatureBatch) -> FaceBatch:
        with self._timers["model"].measure(len(batch.frames)):
            return self._model.make_faces(batch)

    def _leave_out(self, batch: FeatureBatch) -> FaceBatch | HeldBatch:
        if self._pace.shows_idle:
            return self._model.make_idle(batch)
        return HeldBatch(batch.images, batch.frames, batch.audio)

    def _composite(self) -> None:
        for batches in self._workers.results():
            for batch in batches:
                self._pace.note_step("model", batch.frames)
                with self._timers["composite"].measure(len(batch.frames)):
                    frames = self._finish_frames(batch)
                self._pace.wait_for_turn(batch.frames)
                self._pace.note_step("composite", batch.frames)
                self._encoder.write(frames)
                self._pace.note_written(batch.frames, len(frames.audio))
        self._encoder.finish()

    def _finish_frames(self, batch: FaceBatch | HeldBatch) -> FrameBatch:
        if isinstance(batch, FaceBatch):
            frames = composite(batch)
        elif self._last_image is None:
            frames = FrameBatch(batch.images, batch.audio)
        else:
            frames = FrameBatch((self._last_image,) * len(batch.frames), batch.audio)
        if frames.images:
            self._last_image = frames.images[-1]
        return frames
