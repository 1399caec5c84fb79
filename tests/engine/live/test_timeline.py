"""The timeline against a model of what must come out of it; tools/campaign runs many more lives."""

from __future__ import annotations

import threading
from fractions import Fraction

import pytest

from fixtures.fakes import tone
from fixtures.timeline_model import run_lives
from musetalk_cli.engine.live.timeline import MAX_UTTERANCES, Timeline, TimelineSettings

LIVES, NUM_GROUPS = 600, 4


@pytest.mark.parametrize("group", range(NUM_GROUPS))
def test_random_lives(group: int) -> None:
    count = LIVES // NUM_GROUPS
    run_lives(group * count, count)


def test_what_has_been_handed_out_is_not_remembered() -> None:
    """A voice may go on for hours; an interruption needs only what is under way."""
    settings = TimelineSettings(Fraction(25), num_channels=1, block_s=0.4, before_s=0.2, after_s=0.1)
    timeline = Timeline(settings, lambda frame: 1.0)
    for _ in range(20):
        timeline.push(tone(0.4))
        while (block := timeline.poll()) is not None:
            timeline.hand_out(block.frame_offset + block.frames.stop)
        assert len(timeline._voice._blocks) <= 1
    assert timeline.pushed_at(0) is not None
    assert timeline.pushed_at(1) is None


def test_who_waits_for_room_goes_on_when_a_block_is_planned() -> None:
    settings = TimelineSettings(Fraction(25), num_channels=1, block_s=0.4, before_s=0.2, after_s=0.1, max_queued_s=0.4)
    timeline = Timeline(settings, lambda frame: 1.0)
    timeline.push(tone(0.6))
    pusher = threading.Thread(target=timeline.push, args=(tone(0.4),))
    pusher.start()
    pusher.join(0.1)
    assert pusher.is_alive(), "there is no room"
    while timeline.poll() is not None:
        pass
    pusher.join(10)
    assert not pusher.is_alive()
    timeline.cancel()


def test_no_more_than_so_many_utterances_wait_however_short() -> None:
    settings = TimelineSettings(Fraction(25), num_channels=1, block_s=0.4, before_s=0.2, after_s=0.1)
    timeline = Timeline(settings, lambda frame: 1.0)
    for _ in range(MAX_UTTERANCES):
        timeline.push(tone(0.001))
        timeline.end_utterance()
    pusher = threading.Thread(target=timeline.push, args=(tone(0.001),))
    pusher.start()
    pusher.join(0.1)
    assert pusher.is_alive(), "there is no room"
    timeline.poll()
    pusher.join(10)
    assert not pusher.is_alive()
    assert timeline.last_utterance == MAX_UTTERANCES
