from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import numpy as np
import pytest

from fixtures.fakes import FakeSource, tone
from musetalk_cli.engine.audio.sources import Limited
from musetalk_cli.engine.live.clock import PacingBudget, PacingSettings, StreamClock
from musetalk_cli.engine.live.feed import BUFFER, GAP_S, PIECE, LiveFeed
from musetalk_cli.errors import SourceError

QUICK = 8.0  # stream seconds a second: the tests' clock runs this much faster


def budget(*, can_run_ahead: bool = True, lead_s: float = 0.2) -> PacingBudget:
    clock = StreamClock(lambda: time.monotonic() * QUICK)
    return PacingBudget(clock, PacingSettings(0.5, lead_s, 1.1, 1.1, can_run_ahead))


@pytest.fixture
def feeds() -> Iterator[Callable[..., LiveFeed]]:
    opened: list[LiveFeed] = []

    def open_feed(source: FakeSource, own_budget: PacingBudget, **options: bool) -> LiveFeed:
        feed = LiveFeed(source, own_budget, **options)
        opened.append(feed)
        feed.open()
        return feed

    yield open_feed
    for feed in opened:
        feed.close()


def read_all(feed: LiveFeed) -> np.ndarray:
    pieces = []
    while (piece := feed.read()) is not None:
        pieces.append(piece)
    return np.concatenate(pieces)


def test_every_sample_comes_through_once(feeds: Callable[..., LiveFeed]) -> None:
    audio = tone(3.0)
    feed = feeds(FakeSource(np.array_split(audio, 7)), budget(), fills_gaps=False)
    assert np.array_equal(read_all(feed), audio)


def test_a_file_is_not_read_before_its_time(feeds: Callable[..., LiveFeed]) -> None:
    own = budget()
    feed = feeds(FakeSource([tone(30.0)]), own, fills_gaps=False)
    position_s = 0.0
    while position_s < 5.0:
        piece = feed.read()
        assert piece is not None
        position_s += len(piece) / 48_000
        assert position_s <= own.clock.read() + 0.5 + 0.2 + 0.04 + 0.001 * QUICK * 2


def test_a_pause_is_silence_on_the_clock_and_not_the_end(feeds: Callable[..., LiveFeed]) -> None:
    own = budget()
    feed = feeds(FakeSource([tone(1.0)], blocks_forever=True), own, fills_gaps=True)
    position_s, audio_blocks = 0.0, []
    while position_s < 6.0:
        piece = feed.read()
        assert piece is not None
        audio_blocks.append(piece)
        position_s += len(piece) / 48_000
    heard = np.concatenate(audio_blocks)
    assert np.array_equal(heard[:48_000], tone(1.0))
    assert not heard[48_000:].any()
    assert own.clock.read() >= 6.0 + GAP_S - 0.05
    assert feed.num_filled == len(heard) - 48_000


def test_a_slow_source_that_goes_on_is_followed_and_not_interrupted(feeds: Callable[..., LiveFeed]) -> None:
    """Its crystal is 0.2 % slow: no silence is put between its words."""
    audio = tone(4.0)

    class SlowSource(FakeSource):
        started = 0.0

        def read(self) -> np.ndarray | None:
            self.started = self.started or time.monotonic()
            piece = super().read()
            given = len(audio) - sum(len(rest) for rest in self._chunks)
            while piece is not None and (time.monotonic() - self.started) * QUICK * 0.998 < given / 48_000:
                time.sleep(0.001)
            return piece

    feed = feeds(SlowSource(np.array_split(audio, 80)), budget(), fills_gaps=True)
    heard = read_all(feed)
    assert feed.num_filled < 48_000 * 2 * GAP_S, "only at the start"
    assert np.array_equal(heard[np.abs(heard[:, 0]) > 0], audio[np.abs(audio[:, 0]) > 0])


def test_what_breaks_off_is_reported_after_what_was_read(feeds: Callable[..., LiveFeed]) -> None:
    feed = feeds(FakeSource([tone(0.4)], error=SourceError("broke off")), budget(), fills_gaps=True)
    num_read = 0
    with pytest.raises(SourceError, match="broke off"):
        while True:
            piece = feed.read()
            assert piece is not None
            num_read += len(piece)
    assert num_read == round(0.4 * 48_000)


def test_stop_wakes_a_reader(feeds: Callable[..., LiveFeed]) -> None:
    feed = feeds(FakeSource([], blocks_forever=True), budget(can_run_ahead=False), fills_gaps=False)
    timer = threading.Timer(0.1, feed.stop)
    timer.start()
    assert feed.read() is None
    timer.join()


def test_a_duration_ends_it_to_the_sample(feeds: Callable[..., LiveFeed]) -> None:
    feed = feeds(FakeSource([tone(0.7)], blocks_forever=True), budget(), fills_gaps=True)
    limited = Limited(feed, 1.2345)
    num_read = 0
    while (piece := limited.read()) is not None:
        num_read += len(piece)
    assert num_read == round(1.2345 * 48_000)
    assert limited.duration_s == 1.2345


class Speaker(FakeSource):
    """Says one after another what it is given; ``Droppable``."""

    def __init__(self) -> None:
        super().__init__([])
        self._said: queue.SimpleQueue[np.ndarray | None] = queue.SimpleQueue()
        self.num_drops = 0
        self.is_stale = False

    def say(self, audio: np.ndarray) -> None:
        self._said.put(audio)

    def read(self) -> np.ndarray | None:
        return self._said.get()

    def drop(self) -> None:
        self.num_drops += 1

    def stop(self) -> None:
        self._said.put(None)


def test_a_drop_forgets_what_waits_here_and_in_the_source(feeds: Callable[..., LiveFeed]) -> None:
    speaker = Speaker()
    feed = feeds(speaker, budget(can_run_ahead=False), fills_gaps=False)
    old, new = np.full((24_000, 1), 7, np.int16), np.full((9_600, 1), 5, np.int16)
    speaker.say(old)
    first = feed.read()
    assert first is not None
    feed.drop()
    assert feed.is_stale, "what was read before"
    assert speaker.num_drops == 1
    speaker.say(new)
    heard = [first]
    while not (heard[-1] == 5).all():
        piece = feed.read()
        assert piece is not None
        heard.append(piece)
    assert not feed.is_stale
    assert sum(len(piece) for piece in heard if (piece == 7).all()) == len(first)


def test_a_drop_begins_anew_at_the_present_of_the_clock(feeds: Callable[..., LiveFeed]) -> None:
    """Otherwise the voice after it would be late by all that was dropped, or silence be put before it."""
    now_s = 0.0
    own = PacingBudget(StreamClock(lambda: now_s), PacingSettings(0.5, 0.2, 1.1, 1.1, can_run_ahead=True))
    speaker = Speaker()
    feed = feeds(speaker, own, fills_gaps=True)
    speaker.say(tone(0.04))
    assert feed.read() is not None
    now_s = 30.0
    feed.drop()
    speaker.say(np.full((1_920, 1), 5, np.int16))
    piece = feed.read()
    while piece is not None and not piece.any():  # the feed's thread may not have it yet
        piece = feed.read()
    assert piece is not None
    assert set(np.unique(piece)) == {5}
    assert feed.num_filled <= 1_920


def test_a_source_that_never_ends_and_never_waits_is_read_no_further_than_the_buffer(
    feeds: Callable[..., LiveFeed],
) -> None:
    is_too_far = threading.Event()

    class Endless(FakeSource):
        num_given = 0

        def read(self) -> np.ndarray | None:
            self.num_given += 4_800
            if self.num_given > BUFFER + 20 * PIECE + 2 * 4_800:
                is_too_far.set()
            return None if self._stopped.is_set() else np.ones((4_800, 1), np.int16)

    source = Endless([])
    feed = feeds(
        source,
        PacingBudget(StreamClock(lambda: 0.0), PacingSettings(5.0, 5.0, 1.1, 1.1, can_run_ahead=True)),
        fills_gaps=False,
    )
    for _ in range(20):
        assert feed.read() is not None
    while source.num_given < BUFFER:
        time.sleep(0.001)
    assert not is_too_far.wait(0.3)


def test_audio_that_comes_in_bursts_is_waited_for_and_not_padded(
    feeds: Callable[..., LiveFeed], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A burst of a network is late by more than a gap, but it came only now: it is no pause of the speaker."""
    monkeypatch.setattr("musetalk_cli.engine.live.feed.time", SimpleNamespace(monotonic=lambda: 0.0))
    now_s = 0.0
    own = PacingBudget(StreamClock(lambda: now_s), PacingSettings(0.5, 0.2, 1.1, 1.1, can_run_ahead=True))
    speaker = Speaker()
    feed = feeds(speaker, own, fills_gaps=True)
    speaker.say(np.full((PIECE, 1), 5, np.int16))
    first = feed.read()
    now_s = PIECE / 48_000 + 1.5 * GAP_S
    burst = threading.Timer(0.1, speaker.say, [np.full((PIECE, 1), 7, np.int16)])
    burst.start()
    second = feed.read()
    burst.join()
    assert first is not None
    assert second is not None
    assert (set(np.unique(first)), set(np.unique(second))) == ({5}, {7})
    assert feed.num_filled == 0
    now_s += 3 * GAP_S
    third = feed.read()
    assert third is not None
    assert not third.any(), "so late, it is a pause"
    assert len(third) == PIECE, "however long it has been"


def test_closing_ends_the_thread_and_a_feed_that_never_opened_can_be_closed() -> None:
    source = FakeSource([tone(9.0)], blocks_forever=True)
    feed = LiveFeed(source, budget(), fills_gaps=False)
    feed.open()
    assert feed.read() is not None
    feed.close()
    assert not feed._thread.is_alive()
    unopened = FakeSource([])
    LiveFeed(unopened, budget(), fills_gaps=False).close()
    assert (source.is_closed, unopened.is_closed) == (True, True)


def test_a_source_that_cannot_drop_goes_on(feeds: Callable[..., LiveFeed]) -> None:
    audio = tone(8.0)
    feed = feeds(FakeSource(np.array_split(audio, 80)), budget(), fills_gaps=False)
    first = feed.read()
    assert first is not None
    feed.drop()
    rest = read_all(feed)
    assert np.array_equal(rest[-9_600:], audio[-9_600:])
    assert len(first) + len(rest) < len(audio)
