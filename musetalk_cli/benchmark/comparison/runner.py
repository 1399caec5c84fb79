"""One video made in one variant: the same engine with some of its parts exchanged."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from musetalk_cli.benchmark.comparison.clips import ClipOutput
from musetalk_cli.benchmark.comparison.feed import ArrivalSink, Feed
from musetalk_cli.benchmark.comparison.straightforward import BlockByBlock, PieceCutter, draw_pieces, run_in_turn
from musetalk_cli.benchmark.comparison.variants import Variant
from musetalk_cli.engine.audio.block_feed import SourceFeed
from musetalk_cli.engine.audio.blocks import BlockCutter, Cutter
from musetalk_cli.engine.live.hooks import RunHooks
from musetalk_cli.engine.models.base import LipSyncModel
from musetalk_cli.engine.pipeline import Pipeline, PipelineSettings
from musetalk_cli.engine.runtime.stage import RunState
from musetalk_cli.engine.runtime.timing import StageTimer
from musetalk_cli.engine.types.audio import frame_at
from musetalk_cli.engine.types.messages import AUDIO_RATE_HZ, AudioArray, AudioBlock
from musetalk_cli.engine.video.encoder import NUM_LATE, EncoderProcess, EncoderSettings
from musetalk_cli.engine.video.output import FrameOutput

if TYPE_CHECKING:
    from musetalk_cli.engine.avatar.avatar import Avatar

TICK_S = 0.1


@dataclass(frozen=True)
class Run:
    """One finished run. ``wall_s``: from before the encoder was started to the last byte; ``cpu_s``: of all cores, with
    our ffmpegs; ``frame_times_s``: for every frame, from the voice's start to its bytes; ``videos``: the bytes, if
    kept, of one video or one for each clip.
    """

    wall_s: float
    cpu_s: float
    frame_times_s: tuple[float, ...]
    videos: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class ComparisonRunner:
    """The parts that all variants share, and running one of them.

    ``open_avatar`` opens the avatar anew, in the output's size; ``full_model`` computes in full precision and is None
    where ``model`` does.
    """

    ffmpeg: str
    model: LipSyncModel
    full_model: LipSyncModel | None
    open_avatar: Callable[[], Avatar]
    encoder: EncoderSettings
    settings: PipelineSettings

    def run(
        self, variant: Variant, audio: AudioArray, *, is_live: bool = False, piece_seed: int = 0, keeps: bool = False
    ) -> Run:
        """Make a video of ``audio``. Nothing is left behind, whatever happens.

        Args:
            variant: Which optimisations are on.
            audio: int16 (n, 1) at 48 kHz.
            is_live: Whether it comes in real time, or at once. In real time, its blocks are treated as if others had
                gone before, without the small first batch that only a stream's first block has.
            piece_seed: Draws the pieces of a variant without blocks.
            keeps: Whether the result holds the bytes of the video.

        Returns:
            How long it took, when each frame came, and the video if it was kept.

        Raises:
            MuseTalkError: What the pipeline failed with.
        """
        feed = Feed(audio, is_live=is_live)
        pieces = None if variant.blocks else draw_pieces(len(audio), piece_seed)
        ends = self._block_ends(len(audio), pieces)
        arrivals = ArrivalSink(None if variant.ahead else ends, NUM_LATE, keeps=keeps)
        cutter = self._cutter(pieces, leads=variant.memory)
        cutter = _MidStream(cutter) if is_live else cutter
        model = self.model if variant.precision or not self.full_model else self.full_model
        with ExitStack() as leaving:
            avatar = self.open_avatar()
            leaving.callback(avatar.close)
            cpu_before_s, started_at = _cpu_s_with_children(), time.perf_counter()
            output = leaving.enter_context(self._opened_output(variant, arrivals, ends))
            if variant.workers:
                hooks = RunHooks() if variant.ahead else BlockByBlock()
                blocks = SourceFeed(feed, cutter, hooks.process_audio)
                _run(Pipeline(blocks, model, avatar, output, arrivals, self.settings, started_at, hooks))
            else:
                state = RunState()
                writer = output.attach(arrivals, state, StageTimer())
                leaving.enter_context(_own_threads())
                run_in_turn(feed, cutter, model, avatar, writer, state, self.settings)
        begun_at = started_at if feed.started_at is None else feed.started_at
        times_s = tuple(moment - begun_at for moment in arrivals.times)
        return Run(arrivals.last_at - started_at, _cpu_s_with_children() - cpu_before_s, times_s, arrivals.videos)

    @contextmanager
    def _opened_output(self, variant: Variant, arrivals: ArrivalSink, ends: list[int]) -> Iterator[FrameOutput]:
        with ExitStack() as leaving:
            if variant.memory:
                plain = self.encoder._replace(preset="medium", tune="none")
                process = EncoderProcess(self.ffmpeg, self.encoder if variant.encode else plain)
                leaving.callback(process.close)
                yield process
            else:
                folder = leaving.enter_context(tempfile.TemporaryDirectory(prefix="musetalk-bench-"))
                yield ClipOutput(
                    self.ffmpeg,
                    self.encoder,
                    Path(folder),
                    arrivals,
                    ends,
                    is_quick=variant.encode,
                    has_thread=variant.workers,
                )

    def _cutter(self, pieces: list[int] | None, *, leads: bool) -> Cutter:
        """``leads``: an encoder wants audio ahead of its frames, a clip beside them."""
        context = (self.model.before_s, self.model.after_s, self.settings.frame_rate)
        if pieces:
            return PieceCutter(pieces, *context, self.model.low_pass)
        return BlockCutter(self.settings.block_s, *context, leads=leads, low_pass=self.model.low_pass)

    def _block_ends(self, num_samples: int, pieces: list[int] | None) -> list[int]:
        """The frame behind each block's last."""
        block = round(self.settings.block_s * AUDIO_RATE_HZ)
        ends = pieces or [*range(block, num_samples, block), num_samples]
        return [max(1, frame_at(Fraction(end, AUDIO_RATE_HZ), self.settings.frame_rate)) for end in ends]

    def frames_in(self, seconds: float) -> int:
        """How many frames a whole block of that length has."""
        return frame_at(Fraction(round(seconds * AUDIO_RATE_HZ), AUDIO_RATE_HZ), self.settings.frame_rate)


def _run(pipeline: Pipeline) -> None:
    try:
        pipeline.start()
        while not pipeline.wait(TICK_S):
            pass
    finally:
        pipeline.close()
    if pipeline.error:
        raise pipeline.error


class _MidStream:
    """Another cutter's blocks, none of which is a stream's first."""

    def __init__(self, cutter: Cutter) -> None:
        self._cutter = cutter

    def push(self, audio: AudioArray) -> Iterator[AudioBlock]:
        return (replace(block, index=block.index + 1) for block in self._cutter.push(audio))

    def finish(self) -> Iterator[AudioBlock]:
        return (replace(block, index=block.index + 1) for block in self._cutter.finish())


@contextmanager
def _own_threads() -> Iterator[None]:
    """Let OpenCV use all cores, as it does by itself: without workers, nobody else does."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(-1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _cpu_s_with_children() -> float:
    """CPU seconds of ours and of our ended children."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
