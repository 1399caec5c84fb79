"""What follows a voice waits until it has been shown."""

from __future__ import annotations

import numpy as np

from musetalk_cli import Frame, UtteranceFinished
from musetalk_cli.integrations.held_items import HeldItems

FRAME_S = 0.04


def frame(utterance: int | None, position_s: float = 0.0) -> Frame:
    return Frame(0, 0.0, np.zeros((2, 2), np.uint8), np.zeros((1, 1), np.int16), utterance, position_s)


def taken(held: HeldItems[str]) -> list[str]:
    return list(iter(held.take, None))


def test_with_no_voice_before_it_nothing_waits() -> None:
    held = HeldItems[str]()
    held.hold("text")
    assert taken(held) == ["text"]


def test_an_item_waits_for_the_voice_before_it_and_for_no_more() -> None:
    held = HeldItems[str]()
    held.note_push(0, 0.03)
    held.note_push(0, 0.04)
    held.hold("first")
    held.note_push(0, 0.04)
    held.hold("second")
    assert taken(held) == []
    held.note_shown(frame(0, 0.0), FRAME_S)
    assert taken(held) == []
    held.note_shown(frame(0, 0.04), FRAME_S)
    assert taken(held) == ["first"]
    held.note_shown(frame(None), FRAME_S)
    assert taken(held) == []
    held.note_shown(UtteranceFinished(0, 0.12, False), FRAME_S)
    assert taken(held) == ["second"]


def test_the_place_begins_anew_with_each_utterance() -> None:
    held = HeldItems[str]()
    held.note_push(0, 1.0)
    held.hold("end of 0")
    held.note_push(1, 0.04)
    held.hold("end of 1")
    held.note_shown(UtteranceFinished(0, 1.0, False), FRAME_S)
    assert taken(held) == ["end of 0"]
    held.note_shown(frame(1, 0.0), FRAME_S)
    assert taken(held) == ["end of 1"]


def test_an_interruption_drops_what_waits_but_for_what_is_kept() -> None:
    held = HeldItems[str]()
    held.note_push(0, 1.0)
    for item in ("dropped", "kept"):
        held.hold(item)
    held.interrupt(lambda item: item == "kept")
    assert taken(held) == ["kept"]
    held.note_shown(frame(0, 0.5), FRAME_S)  # one that was on its way
    held.hold("after")
    assert taken(held) == ["after"]


def test_a_push_that_an_interruption_dropped_does_not_count() -> None:
    held = HeldItems[str]()
    held.note_push(None, 1.0)
    held.hold("text")
    assert taken(held) == ["text"]
