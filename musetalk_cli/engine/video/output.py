"""What frames go into: a pipeline's encoder, or what stands in for it to be compared with, and a session's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from musetalk_cli.engine.outputs.fragments import Fragment, InitSegment
from musetalk_cli.engine.outputs.sinks import Sink
from musetalk_cli.engine.runtime.stage import RunState, Stage
from musetalk_cli.engine.runtime.timing import StageTimer
from musetalk_cli.engine.types.messages import AudioArray, ByteArray, FrameBatch

OnLeft = Callable[[int], object]  # takes the number of the first frame that can still be dropped


def ignore_left(frame: int) -> None:
    """Nobody asks which frames have left."""


class FrameWriter(Protocol):
    """Takes the frames of one run, in order; ``write`` and ``finish`` come from one thread.

    ``stages`` are its threads, ended by ``finish`` or by the run's abort.
    """

    num_bytes: int
    num_frames: int
    first_byte_at: float | None  # time.perf_counter() of the first byte at the sink
    first_fragment_at: float | None  # and of the first bytes that play
    is_reader_gone: bool
    is_complete: bool  # the output came to its end, uninterrupted, and is in its place

    @property
    def stages(self) -> Sequence[Stage]: ...

    def start(self) -> None: ...

    def write(self, batch: FrameBatch) -> None:
        """Queue frames and their audio. Raises Aborted."""

    def drop(self) -> tuple[int, int] | None:
        """Drop what has not left, of the run as it was planned until now: the numbers of the first frame and of the
        first 48 kHz sample that have not. None where nothing can be dropped. May be called from any thread."""

    def finish(self) -> None:
        """Everything has been written."""

    def cut(self) -> None:
        """End the output soon, behind what has left; what waits is dropped. May be called from any thread."""

    def close(self) -> None:
        """Release everything, whatever state it is in."""


class FrameOutput(Protocol):
    """Where frames may go, before it is known which run they come from."""

    def attach(self, sink: Sink, state: RunState, timer: StageTimer, on_left: OnLeft = ignore_left) -> FrameWriter:
        """Its writer for one run.

        Args:
            sink: takes what is made of the frames.
            state: of the run.
            timer: measures how long frames wait.
            on_left: called whenever the first frame that can still be dropped has changed.
        """


class FragmentEncoder(Protocol):
    """Makes one fragmented MP4 of a session's frames: in this process (inprocess_encoder.py), or in an ffmpeg
    (child_encoder.py).

    Calls come one at a time, ``cancel`` excepted.
    """

    @property
    def init_segment(self) -> InitSegment | None:
        """Where it is there from the beginning; None where it comes in front of the first fragment."""

    def encode(
        self, images: Sequence[ByteArray], audio: AudioArray, *, keyframe: bool = False
    ) -> Sequence[InitSegment | Fragment]:
        """Take frames, and return what is finished by now, of these frames or of earlier ones.

        Args:
            images: I420, uint8 (height · 3/2, width) each.
            audio: int16 (n, channels) at 48 kHz: what follows the audio so far.
            keyframe: whether the first image becomes a keyframe, where the encoder can make it one.

        Raises:
            EncoderError: the encoder failed, or has been cancelled, finished or closed.
        """

    def finish(self) -> Sequence[InitSegment | Fragment]:
        """End the stream, and return the rest of it. Raises as ``encode``."""

    def cancel(self) -> None:
        """Let a call that waits end; from any thread. Nothing more is encoded."""

    def close(self) -> None:
        """Release everything. Twice is once."""
