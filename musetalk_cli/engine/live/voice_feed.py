"""A timeline as a pipeline's feed: what is pushed into it, or what a live source delivers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from musetalk_cli.engine.audio.block_feed import ProcessAudio, Spoken
from musetalk_cli.engine.audio.drops import Droppable
from musetalk_cli.engine.audio.sources import AudioSource
from musetalk_cli.engine.live.timeline import Timeline
from musetalk_cli.engine.runtime.timing import StageTimer
from musetalk_cli.engine.types.messages import AudioBlock, FloatArray, IdleBlock
from musetalk_cli.errors import SessionError


class VoiceFeed:
    """BlockFeed over a timeline. With a ``source``, which it owns, a thread of its own pushes what that one says;
    without, others push. ``process`` sees all samples of the source and may replace them; ``begin`` is called before
    the first of them after each interruption.
    """

    def __init__(
        self,
        timeline: Timeline,
        source: AudioSource | None = None,
        process: ProcessAudio = lambda audio: audio,
        begin: Callable[[], None] = lambda: None,
    ) -> None:
        self._timeline = timeline
        self._source = source
        self._process = process
        self._begin = begin
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._pump, name="musetalk-voice", daemon=True)

    @property
    def duration_s(self) -> float | None:
        return self._source.duration_s if self._source else None

    def blocks(self, timer: StageTimer, record: Callable[[BaseException], None]) -> Iterator[AudioBlock | IdleBlock]:
        if self._source:
            self._thread.start()
        while (block := self._timeline.take()) is not None:
            yield block
        if self._error:
            record(self._error)

    def is_current(self, epoch: int) -> bool:
        return self._timeline.is_current(epoch)

    def clear(self, frame: int, sample: int, closing: FloatArray | None) -> list[Spoken]:
        # In this order: what the pump has read until here is either stale or of an epoch that has ended.
        if isinstance(self._source, Droppable):
            self._source.drop()
        return self._timeline.clear(frame, sample, closing)

    def hand_out(self, frame: int) -> list[Spoken]:
        return self._timeline.hand_out(frame)

    def stop(self) -> None:
        if self._source:
            self._source.stop()
        else:
            self._timeline.finish()

    def close(self) -> None:
        self._timeline.cancel()
        if self._source:
            self._source.stop()
            self._source.close()
        if self._thread.ident is not None:
            self._thread.join()

    def _pump(self) -> None:
        assert self._source is not None  # noqa: S101 - only started with one
        try:
            self._push_all(self._source)
        except SessionError:
            pass  # cancelled while it waited
        except BaseException as error:  # told where the blocks end
            self._error = error
        finally:
            self._timeline.finish()

    def _push_all(self, source: AudioSource) -> None:
        last_epoch = 0
        while (audio := source.read()) is not None:
            epoch = self._timeline.epoch
            if isinstance(source, Droppable) and source.is_stale:
                continue
            if epoch != last_epoch:
                self._begin()
                last_epoch = epoch
            self._timeline.push(self._process(audio), epoch)
