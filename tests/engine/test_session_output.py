"""What a session tells, where it is interrupted between one step of its output and the next."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace

import numpy as np

from musetalk_cli.engine.audio.block_feed import Spoken
from musetalk_cli.engine.session_output import SessionOutput
from musetalk_cli.engine.types.session import Frame, UtteranceFinished, UtteranceStarted
from musetalk_cli.engine.video.frame_queue import QueuedFrame

HOOKS = SimpleNamespace(num_held=0)
TIMELINE = SimpleNamespace(num_filled=0, hand_out=lambda frame: [])


class InterruptedQueue:
    """Gives the first frame of each utterance; the first utterance is interrupted while its frame is on its way."""

    def __init__(self) -> None:
        self.output: SessionOutput | None = None
        self._number = 0

    def take(self, timeout_s: float) -> QueuedFrame:
        frame = QueuedFrame(self._number, np.zeros((3, 2), np.uint8), np.zeros((1920, 1), np.int16), self._number, 0)
        if self._number == 0 and self.output:
            self.output.interrupt([Spoken(0, 1)])
        self._number += 1
        return frame


def test_an_utterance_that_is_interrupted_as_it_begins_does_not_begin_behind_its_end() -> None:
    queue = InterruptedQueue()
    queue.output = SessionOutput(queue, TIMELINE, HOOKS, None, Fraction(25), "i420")  # type: ignore[arg-type]
    items = [queue.output.take(1.0) for _ in range(4)]
    assert [type(each) for each in items] == [UtteranceFinished, Frame, UtteranceStarted, Frame]
    assert items[2] == UtteranceStarted(1, 1 / 25)
