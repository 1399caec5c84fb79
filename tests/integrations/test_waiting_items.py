"""What follows a voice waits until it has been shown."""

from __future__ import annotations

import numpy as np

from musetalk_cli import Frame, UtteranceFinished
from musetalk_cli.integrations.waiting_items import WaitingItems

FRAME_S = 0.04


def frame(utterance: int | None, position_s: float = 0.0) -> Frame:
    return Frame(0, 0.0, np.zeros((2, 2), np.uint8), np.zeros((1, 1), np.int16), utterance, position_s)


def taken(waiting: WaitingItems[str]) -> list[str]:
    return list(iter(waiting.take, None))


def test_with_no_voice_before_it_nothing_waits() -> None:
    waiting = WaitingItems[str]()
    waiting.add("text")
    assert taken(waiting) == ["text"]


def test_an_item_waits_for_the_voice_before_it_and_for_no_more() -> None:
    waiting = WaitingItems[str]()
    waiting.note_push(0, 0.03)
    waiting.note_push(0, 0.04)
    waiting.add("first")
    waiting.note_push(0, 0.04)
    waiting.add("second")
    assert taken(waiting) == []
    waiting.note_shown(frame(0, 0.0), FRAME_S)
    assert taken(waiting) == []
    waiting.note_shown(frame(0, 0.04), FRAME_S)
    assert taken(waiting) == ["first"]
    waiting.note_shown(frame(None), FRAME_S)
    assert taken(waiting) == []
    waiting.note_shown(UtteranceFinished(0, 0.12, False), FRAME_S)
    assert taken(waiting) == ["second"]


def test_the_place_begins_anew_with_each_utterance() -> None:
    waiting = WaitingItems[str]()
    waiting.note_push(0, 1.0)
    waiting.add("end of 0")
    waiting.note_push(1, 0.04)
    waiting.add("end of 1")
    waiting.note_shown(UtteranceFinished(0, 1.0, False), FRAME_S)
    assert taken(waiting) == ["end of 0"]
    waiting.note_shown(frame(1, 0.0), FRAME_S)
    assert taken(waiting) == ["end of 1"]


def test_an_interruption_drops_what_waits_but_for_what_is_kept() -> None:
    waiting = WaitingItems[str]()
    waiting.note_push(0, 1.0)
    for item in ("dropped", "kept"):
        waiting.add(item)
    waiting.interrupt(lambda item: item == "kept")
    assert taken(waiting) == ["kept"]
    waiting.note_shown(frame(0, 0.5), FRAME_S)  # one that was on its way
    waiting.add("after")
    assert taken(waiting) == ["after"]


def test_a_push_that_an_interruption_dropped_does_not_count() -> None:
    waiting = WaitingItems[str]()
    waiting.note_push(None, 1.0)
    waiting.add("text")
    assert taken(waiting) == ["text"]
