"""What a pipeline's frames go into: the encoder, or what stands in for it to be compared with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from musetalk_cli.engine.outputs.sinks import Sink
from musetalk_cli.engine.runtime.stage import RunState, Stage
from musetalk_cli.engine.runtime.timing import StageTimer
from musetalk_cli.engine.types.messages import FrameBatch

OnLeft = Callable[[int], object]  # takes the number of the first frame that can still be dropped


def ignore(frame: int) -> None:
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

    def close(self) -> None:
        """Release everything, whatever state it is in."""


class FrameOutput(Protocol):
    """Where frames may go, before it is known which run they come from."""

    def attach(self, sink: Sink, state: RunState, timer: StageTimer, on_left: OnLeft = ignore) -> FrameWriter:
        """Its writer for one run.

        Args:
            sink: takes what is made of the frames.
            state: of the run.
            timer: measures how long frames wait.
            on_left: called whenever the first frame that can still be dropped has changed.
        """
