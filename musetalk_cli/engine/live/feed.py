"""Putting a source on the clock: no audio before its time, and silence where none comes."""

from __future__ import annotations

import threading
import time
from collections import deque

import numpy as np

from musetalk_cli.engine.audio.drops import Droppable, Drops
from musetalk_cli.engine.audio.sources import AudioSource
from musetalk_cli.engine.live.clock import PacingBudget
from musetalk_cli.engine.types.messages import AUDIO_RATE_HZ, AudioArray
from musetalk_cli.errors import SourceError

PIECE = AUDIO_RATE_HZ // 25  # samples handed on at once: one frame at 25 fps
BUFFER = AUDIO_RATE_HZ  # samples that wait here; beyond that, the source waits
# Audio over a network or from another program arrives in bursts: a gap below this is no pause.
GAP_S = 0.2
WAKE_S = 0.02


class LiveFeed:
    """AudioSource that reads another one in a thread and hands its audio on by the clock.

    A source that can run ahead is read no further than the budget allows. One that cannot (a microphone) is the clock's
    master. With ``fills_gaps``, silence is handed on while the source says nothing, and the stream goes on.
    The source must be open, unless it ``opens_late``: in the thread, so that the stream begins before it does.
    """

    duration_s: float | None = None

    def __init__(
        self, source: AudioSource, budget: PacingBudget, *, fills_gaps: bool, opens_late: bool = False
    ) -> None:
        self._source = source
        self._budget = budget
        self._fills_gaps = fills_gaps
        self._opens_late = opens_late
        self.num_channels = source.num_channels
        self.num_filled = 0  # samples of silence that were put in
        self._position = 0
        self._pieces: deque[AudioArray] = deque()
        self._num_waiting = 0
        self._drops = Drops()
        self._arrived_at = time.monotonic()
        self._is_ended = self._is_stopped = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._pump, name="musetalk-feed", daemon=True)

    def open(self) -> None:
        self.num_channels = self._source.num_channels
        self.duration_s = self._source.duration_s
        self._thread.start()

    def read(self) -> AudioArray | None:
        self._budget.clock.start()
        with self._changed:
            while not self._is_stopped:
                wait_s = self._budget.source_wait_s(self._position / AUDIO_RATE_HZ)
                if wait_s:
                    self._changed.wait(wait_s)
                    continue
                piece = self._take()
                if piece is not None:
                    self._position += len(piece)
                    return piece
                if self._is_ended:
                    break
                self._changed.wait(WAKE_S)
        if self._error and not self._is_stopped:
            raise self._error
        return None

    @property
    def is_stale(self) -> bool:
        return self._drops.is_stale

    def drop(self) -> None:
        """Forget what waits here and in the source; what is said next belongs to the clock's present."""
        with self._changed, self._drops.dropping():
            if isinstance(self._source, Droppable):
                self._source.drop()
            self._pieces.clear()
            self._num_waiting = 0
            self._position = round(self._budget.clock.read() * AUDIO_RATE_HZ)
            self._changed.notify_all()

    def stop(self) -> None:
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
        self._source.stop()

    def close(self) -> None:
        self.stop()
        if self._thread.ident is not None:
            self._thread.join()
        self._source.close()

    def _take(self) -> AudioArray | None:
        """The next piece, silence where it is due, or None when neither is there yet."""
        clock, position_s = self._budget.clock, self._position / AUDIO_RATE_HZ
        with self._drops.reading():
            if self._pieces:
                piece = self._take_piece()
                self._follow(position_s)
                return piece
        behind_s = clock.read() - position_s
        is_pause = time.monotonic() - self._arrived_at > GAP_S or behind_s > 2 * GAP_S
        if not self._fills_gaps or self._is_ended or behind_s < GAP_S or not is_pause:
            return None
        num_missing = min(PIECE, max(1, int((behind_s - GAP_S) * AUDIO_RATE_HZ)))
        self.num_filled += num_missing
        return np.zeros((num_missing, self.num_channels), dtype=np.int16)

    def _take_piece(self) -> AudioArray:
        piece = self._pieces.popleft()
        piece, rest = piece[:PIECE], piece[PIECE:]
        if len(rest):
            self._pieces.appendleft(rest)
        self._num_waiting -= len(piece)
        self._changed.notify_all()
        return piece

    def _follow(self, position_s: float) -> None:
        """Let the clock bend to a source that has its own; one that sends ahead of time is only waited for."""
        clock = self._budget.clock
        if not self._budget.settings.can_run_ahead:
            clock.follow(position_s)
        elif self._fills_gaps:
            clock.follow(min(position_s + GAP_S, clock.read()))

    def _pump(self) -> None:
        has_read = False
        try:
            if self._opens_late:
                self._source.open()
            while (audio := self._source.read()) is not None:
                has_read = True
                with self._changed:
                    if isinstance(self._source, Droppable) and self._source.is_stale:
                        continue
                    self._pieces.append(audio)
                    self._num_waiting += len(audio)
                    self._arrived_at = time.monotonic()
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: self._num_waiting < BUFFER or self._is_stopped)
        except BaseException as error:  # it is raised again where the stream reads
            if isinstance(error, SourceError):
                error.is_at_start = not has_read
            self._error = error
        finally:
            with self._changed:
                self._is_ended = True
                self._changed.notify_all()
