"""A conversation's face: a voice is pushed, ended and interrupted, and one continuous video comes out."""

from __future__ import annotations

import contextlib
import threading
import time
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType
from typing import Any

from numpy.typing import NDArray

from musetalk_cli.engine.audio.voice_input import VoiceInput
from musetalk_cli.engine.avatar.avatar import Avatar
from musetalk_cli.engine.live.clock import StreamClock
from musetalk_cli.engine.live.overload import Overload, OverloadPolicy
from musetalk_cli.engine.live.session_hooks import SessionHooks
from musetalk_cli.engine.live.timeline import MAX_QUEUED_S, Timeline, TimelineSettings
from musetalk_cli.engine.live.voice_feed import VoiceFeed
from musetalk_cli.engine.models.base import LipSyncModel
from musetalk_cli.engine.outputs.sinks import NullSink
from musetalk_cli.engine.pipeline import Pipeline, PipelineSettings
from musetalk_cli.engine.runtime.stats import Snapshot
from musetalk_cli.engine.session_output import Item, SessionOutput
from musetalk_cli.engine.types.session import (
    Interruption,
    PixelFormat,
)
from musetalk_cli.engine.video.frame_queue import FrameQueue
from musetalk_cli.engine.video.output import FragmentEncoder
from musetalk_cli.errors import EncoderError, SessionError

# A voice that has begun and stays away is waited for until so long before its frame is shown.
LAST_MOMENT_S = 0.08
TAKE_S = 0.5  # how often a taker that waits looks whether the session is still open


@dataclass(frozen=True)
class SessionSettings:
    """How a session runs.

    ``block_s``: how much of a voice in real time is taken at once. ``lead_s``: how far frames are handed out ahead of
    the clock. ``max_queued_s``: seconds of voice that may wait. ``late_after_s``: a frame that is later than that shows
    what ``when_slow`` says, as ``stream.when_slow`` of the settings.
    """

    frame_rate: Fraction = Fraction(25)
    num_channels: int = 1
    pixel_format: PixelFormat = "i420"
    block_s: float = 0.2
    lead_s: float = 0.25
    batch_size: int = 4
    num_workers: int = 1
    max_queued_s: float = MAX_QUEUED_S
    late_after_s: float = 0.5
    when_slow: OverloadPolicy = "hold"


class Session:
    """One avatar that lives and speaks in real time. Close it; one that is lost ends with a ResourceWarning.

    Iterate for what comes out, in order: ``Frame`` after ``Frame``, or ``Fragment`` after ``Fragment`` where the
    session encodes, with events between them. One thread iterates; any thread may push, end, clear and close.
    """

    def __init__(
        self,
        model: LipSyncModel,
        avatar: Avatar,
        settings: SessionSettings,
        encoder: FragmentEncoder | None = None,
        *,
        clock: StreamClock | None = None,
    ) -> None:
        """Start the session.

        Args:
            model: bound to the avatar; several sessions may share one whose features depend on nothing else.
            avatar: in the output's size; it stays open when the session closes.
            settings: how the session runs.
            encoder: makes fragments of the frames; without, frames are handed out.
            clock: the session's time, by default the machine's.
        """
        self.settings = settings
        # What threads hold refers to these and never to the session, so that one that nobody holds any more can end.
        clock, rate, lead_s = clock or StreamClock(), settings.frame_rate, settings.lead_s
        self._clock = clock
        self._timeline = _make_timeline(model, settings, clock)
        queue = FrameQueue(rate, settings.num_channels, clock, lead_s)
        hooks = SessionHooks(clock, Overload(settings.when_slow, settings.late_after_s), rate)
        self._output = SessionOutput(queue, self._timeline, hooks, encoder, rate, settings.pixel_format)
        self._input = VoiceInput(settings.num_channels)
        self._input_epoch = 0
        self._pushing = threading.Lock()
        self._taking = threading.Lock()
        self._is_closed = False
        self._on_close: deque[Callable[[], None]] = deque()
        stages = PipelineSettings(settings.block_s, 2, settings.batch_size, settings.num_workers, rate)
        self._pipeline = Pipeline(
            VoiceFeed(self._timeline), model, avatar.shared(), queue, NullSink(), stages, time.perf_counter(), hooks
        )
        if encoder:
            taking = self._taking  # a lost session is closed without it
            self._on_close.append(lambda: _close_encoder(encoder, taking))
        self._end_if_lost = weakref.finalize(self, _end_lost_session, self._pipeline, self._timeline, self._on_close)
        self._end_if_lost.atexit = False  # its threads are daemons
        clock.start()
        try:
            self._pipeline.start()
        except BaseException:  # no more threads, and so none that could end it later
            self.close()
            raise

    def push(self, samples: NDArray[Any], rate_hz: int, *, waits: bool = True) -> None:
        """Add voice. It belongs to the utterance that was not ended yet, or begins a new one.

        Args:
            samples: int16, or float32 in ±1, of shape (n,) or (n, channels) with one or two channels.
            rate_hz: their rate, 4 to 384 kHz.
            waits: whether to wait while more voice than ``max_queued_s`` is waiting to be said.

        Raises:
            SessionError: for whatever is no audio, or after ``finish`` or ``close``.
            QueueFullError: where there is no room and ``waits`` is False; nothing was added then.
            MuseTalkError: whatever broke the session.
        """
        self.push_unless_cleared(samples, rate_hz, self.num_clears, waits=waits)

    def push_unless_cleared(self, samples: NDArray[Any], rate_hz: int, num_clears: int, *, waits: bool = True) -> None:
        """As ``push``, for a voice that was asked for earlier: nothing, where ``clear`` was called meanwhile.

        Args:
            samples: as for ``push``.
            rate_hz: as for ``push``.
            num_clears: ``num_clears`` of the session when the voice was asked for.
            waits: as for ``push``.

        Raises:
            MuseTalkError: as ``push``.
        """
        with self._pushing, self._explained():
            self._timeline.check_open()
            epoch = self._forget_interrupted()
            if epoch != num_clears:
                return
            pieces = self._input.convert(samples, rate_hz)
            if not waits:
                self._timeline.check_room(len(samples) / rate_hz)
            for piece in pieces:
                if len(piece) and not self._timeline.push(piece, epoch):
                    return  # interrupted while it waited

    def end_utterance(self) -> None:
        """The voice ends here: its last frames need not wait for what follows. Nothing where nobody speaks."""
        with self._pushing, self._explained():
            epoch = self._forget_interrupted()
            rest = self._input.finish()
            if len(rest):  # the end of a voice that stayed away, and so has ended, is no other utterance
                self._timeline.push(rest, epoch, begins=False)
            self._timeline.end_utterance()

    def clear(self) -> Interruption:
        """Interrupt: all voice that was not handed out is dropped, the audio fades out in 20 ms, the mouth closes.

        Returns how much of the utterance had been handed out; later ``push`` calls begin a new one.
        Raises SessionError after ``close``.
        """
        if self._is_closed:
            raise SessionError("the session is closed")
        finished = self._output.interrupt(self._pipeline.clear())
        begun = next((each for each in finished if each.position_s), None)
        return Interruption(begun.utterance, begun.position_s) if begun else Interruption(None, 0.0)

    def finish(self) -> None:
        """Say what was pushed to its end; the iteration ends behind it."""
        self.end_utterance()
        self._timeline.finish()

    def request_keyframe(self) -> None:
        """Make the next fragment one at which a player can begin."""
        self._output.request_keyframe()

    def close(self) -> None:
        """End the session now, whatever it does, and release it. Twice is once; any thread may."""
        self._is_closed = True
        self._end_if_lost.detach()
        _end(self._pipeline, self._timeline, self._on_close)

    def on_close(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called once the session has ended, closed or lost; it must not refer to the session."""
        self._on_close.append(callback)

    def stats(self) -> Snapshot:
        """The session's figures at this moment."""
        return self._pipeline.snapshot()

    def pushed_at(self, utterance: int) -> float | None:
        """When its first samples were pushed, by ``time.monotonic()``; None once all of it has been handed out."""
        return self._timeline.pushed_at(utterance)

    @property
    def queued_s(self) -> float:
        """Seconds of voice that wait to be said."""
        return self._timeline.queued_s

    @property
    def last_utterance(self) -> int | None:
        """The number of the utterance that was pushed to last, None before the first."""
        return self._timeline.last_utterance

    @property
    def num_clears(self) -> int:
        """How often the session has been interrupted."""
        return self._timeline.epoch

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        """The next frame, fragment or event, waiting until it is time for it.

        Raises StopIteration at the end, SessionError where another thread iterates, and whatever broke the session.
        """
        if not self._taking.acquire(blocking=False):
            if self._is_closed:
                raise StopIteration  # close holds it
            raise SessionError("another thread takes from this session already", hint="give each session one consumer")
        try:
            while (item := self._output.take(TAKE_S)) is None:
                self._check_end()
            return item
        except EncoderError:
            if self._is_closed:  # which ended the call of the encoder
                raise StopIteration from None
            raise
        finally:
            self._taking.release()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _forget_interrupted(self) -> int:
        """Start the input anew where the voice was interrupted since the last push; the timeline's epoch."""
        epoch = self._timeline.epoch
        if epoch != self._input_epoch:
            self._input_epoch = epoch
            self._input.finish()
        return epoch

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Where a session that broke takes no more voice, raise what broke it."""
        try:
            yield
        except SessionError:
            if self._pipeline.error and not self._is_closed:
                raise self._pipeline.error from None
            raise

    def _check_end(self) -> None:
        if not self._output.is_ended:
            return
        if self._pipeline.error and not self._is_closed:
            raise self._pipeline.error
        if self._is_closed or not self._output.finish():
            raise StopIteration


def _make_timeline(model: LipSyncModel, settings: SessionSettings, clock: StreamClock) -> Timeline:
    """What its frames say. Each is due ``lead_s`` ahead of the clock."""
    rate, lead_s = settings.frame_rate, settings.lead_s
    planned = TimelineSettings(
        rate,
        settings.num_channels,
        settings.block_s,
        model.before_s,
        model.look_ahead_s(settings.block_s),
        patience_s=max(0.0, lead_s - LAST_MOMENT_S),
        low_pass=model.low_pass,
        max_queued_s=settings.max_queued_s,
    )
    return Timeline(planned, lambda frame: float(frame / rate) - lead_s - clock.read())


def _end_lost_session(pipeline: Pipeline, timeline: Timeline, on_close: deque[Callable[[], None]]) -> None:
    """End a session that nobody holds any more: in a thread, since whichever one finds out may hold any lock."""
    with contextlib.suppress(RuntimeError):  # the interpreter ends, and all threads with it
        arguments = (pipeline, timeline, on_close)
        threading.Thread(target=_end, args=arguments, name="musetalk-ending", daemon=True).start()
    warnings.warn("a session was lost without having been closed", ResourceWarning, stacklevel=2)


def _end(pipeline: Pipeline, timeline: Timeline, on_close: deque[Callable[[], None]]) -> None:
    pipeline.abort()
    timeline.cancel()
    pipeline.close()
    while True:
        try:
            callback = on_close.popleft()  # each once, although several threads may close
        except IndexError:
            return
        callback()


def _close_encoder(encoder: FragmentEncoder, taking: threading.Lock) -> None:
    encoder.cancel()
    with taking:
        encoder.close()
