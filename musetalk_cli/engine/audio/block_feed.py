"""What a pipeline reads: blocks of audio, in the order in which they are shown."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol, runtime_checkable

from musetalk_cli.engine.audio.blocks import Cutter
from musetalk_cli.engine.audio.sources import AudioSource
from musetalk_cli.engine.runtime.timing import StageTimer
from musetalk_cli.engine.types.messages import AudioArray, AudioBlock, FloatArray, IdleBlock
from musetalk_cli.errors import SourceError

ProcessAudio = Callable[[AudioArray], AudioArray]


class BlockFeed(Protocol):
    """Gives a pipeline its blocks; one thread iterates."""

    @property
    def duration_s(self) -> float | None:
        """The voice's length in seconds, None where nobody can know it beforehand."""

    def blocks(self, timer: StageTimer, record: Callable[[BaseException], None]) -> Iterator[AudioBlock | IdleBlock]:
        """Yield blocks until the voice has ended or ``stop`` was called.

        ``timer`` measures reading and cutting. ``record`` is given the error of a voice that breaks off; what was read
        before is still yielded.
        """

    def is_current(self, epoch: int) -> bool:
        """Whether frames that were planned in ``epoch`` are still to be shown."""

    def stop(self) -> None:
        """Let ``blocks`` come to its end soon, without an error; may be called from any thread."""

    def close(self) -> None:
        """Release everything; ends a waiting ``blocks``."""


class Spoken(NamedTuple):
    """How far an utterance got: ``num_frames`` of it were handed out."""

    utterance: int
    num_frames: int


@runtime_checkable
class Interruptible(Protocol):
    """A feed whose voice can be interrupted."""

    def clear(self, frame: int, sample: int, closing: FloatArray | None) -> list[Spoken]:
        """As ``Timeline.clear``."""

    def hand_out(self, frame: int) -> list[Spoken]:
        """As ``Timeline.hand_out``."""


class SourceFeed:
    """One source from its beginning to its end, as fast as the pipeline takes its blocks. It owns the source.

    ``process`` sees all samples, int16 (n, channels), before they are cut, and may replace them.
    """

    def __init__(self, source: AudioSource, cutter: Cutter, process: ProcessAudio = lambda audio: audio) -> None:
        self._source = source
        self._cutter = cutter
        self._process = process

    @property
    def duration_s(self) -> float | None:
        return self._source.duration_s

    def blocks(self, timer: StageTimer, record: Callable[[BaseException], None]) -> Iterator[AudioBlock]:
        is_ended = False
        while not is_ended:
            started = time.perf_counter()
            try:
                audio = self._source.read()
            except SourceError as error:
                record(error)
                audio = None
            is_ended = audio is None
            blocks = list(self._cutter.finish() if audio is None else self._cutter.push(self._process(audio)))
            timer.add(time.perf_counter() - started, sum(len(block.frames) for block in blocks))
            yield from blocks

    def is_current(self, epoch: int) -> bool:
        return True

    def stop(self) -> None:
        self._source.stop()

    def close(self) -> None:
        self._source.close()
