"""Sessions: what is pushed comes out as rendered, interruptions are exact, and misuse harms nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from fixtures.fakes import HEIGHT, WIDTH, FakeFrames, FakeModel, HeldClock, fake_avatar, tone
from musetalk_cli.engine.avatar.frames import StillFrames
from musetalk_cli.engine.live.clock import StreamClock
from musetalk_cli.engine.models.base import LipSyncModel
from musetalk_cli.engine.outputs.fragments import Fragment, InitSegment
from musetalk_cli.engine.session import Session, SessionSettings
from musetalk_cli.engine.types.messages import FaceBatch, FeatureBatch
from musetalk_cli.engine.types.session import Frame, Interruption, Late, UtteranceFinished, UtteranceStarted
from musetalk_cli.errors import EncoderError, QueueFullError, SessionError, StageError

RATE = Fraction(25)
FAST = SessionSettings(block_s=0.2, late_after_s=1e9)
REST = 60  # luma of the fake avatar's frames; a face has 16 and its frame's number
Open = Callable[..., Session]


@pytest.fixture
def open_session() -> Iterator[Open]:
    opened: list[Session] = []

    def open_it(
        settings: SessionSettings = FAST, model: LipSyncModel | None = None, clock: StreamClock | None = None
    ) -> Session:
        session = Session(model or FakeModel(), fake_avatar(), settings, clock=clock)
        opened.append(session)
        return session

    yield open_it
    for session in opened:
        session.close()


def test_every_image_is_its_own_and_may_be_written_into() -> None:
    """Of a still, idle frames of a model that leaves them alone are all the same image."""
    avatar = replace(fake_avatar(), frames=StillFrames(np.full((HEIGHT, WIDTH, 3), REST, np.uint8)))
    session = Session(FakeModel(), avatar, FAST)
    session.push(tone(0.4), 48000)
    session.end_utterance()
    frames = [item for item in take(session, 30) if isinstance(item, Frame)]
    session.close()
    assert {frame.utterance for frame in frames} == {0, None}
    for number, frame in enumerate(frames):
        frame.image[0, 0] = number
    assert [int(frame.image[0, 0]) for frame in frames] == list(range(len(frames)))


def face_of(frame: Frame) -> int:
    return int(frame.image[18, 28])


def take(session: Session, count: int) -> list[object]:
    """The next items, of which ``count`` are frames."""
    items: list[object] = []
    while sum(isinstance(item, Frame) for item in items) < count:
        items.append(next(session))
    return items


def take_until(session: Session, kind: type) -> list[object]:
    items: list[object] = []
    while not (items and isinstance(items[-1], kind)):
        items.append(next(session))
    return items


def frames_in(items: list[object]) -> list[Frame]:
    return [item for item in items if isinstance(item, Frame)]


def test_it_lives_from_the_first_moment(open_session: Open) -> None:
    session = open_session()
    frames = frames_in(take(session, 10))
    assert [frame.number for frame in frames] == list(range(10))
    assert [frame.time_s for frame in frames] == [number / 25 for number in range(10)]
    for frame in frames:
        assert frame.utterance is None
        assert frame.image.shape == (HEIGHT * 3 // 2, WIDTH)
        assert frame.audio.shape == (1920, 1)
        assert not frame.audio.any()
        assert face_of(frame) == REST


def test_it_keeps_to_the_clock(open_session: Open) -> None:
    session = open_session()
    started = time.monotonic()
    last = frames_in(take(session, 20))[-1]
    assert time.monotonic() - started >= last.time_s - FAST.lead_s - 0.02


def test_an_utterance_comes_out_whole_between_its_events(open_session: Open) -> None:
    session = open_session()
    voice = tone(1.23)
    session.push(voice, 48_000)
    session.end_utterance()
    items = take_until(session, UtteranceFinished)
    start = next(index for index, item in enumerate(items) if isinstance(item, UtteranceStarted))
    spoken = [frame for frame in frames_in(items) if frame.utterance == 0]
    assert isinstance(items[start + 1], Frame)
    assert items[start] == UtteranceStarted(0, spoken[0].time_s)
    assert items[-1] == UtteranceFinished(0, len(spoken) / 25, is_interrupted=False)
    assert [frame.position_s for frame in spoken] == [number / 25 for number in range(len(spoken))]
    assert [face_of(frame) for frame in spoken] == [16 + number for number in range(31)], "a face for each frame"
    audio = np.concatenate([frame.audio for frame in spoken])
    assert np.array_equal(audio[: len(voice)], voice)
    assert not audio[len(voice) :].any()


@pytest.mark.parametrize("cut", [[1.5], [0.02] * 75, [0.3, 0.001, 0.7, 0.499], [0.1] * 15])
def test_the_sizes_of_the_pieces_change_nothing(open_session: Open, cut: list[float]) -> None:
    model, clock = FakeModel(), HeldClock()
    session = open_session(SessionSettings(block_s=0.4, lead_s=-1.0, late_after_s=1e9), model, clock)
    voice, at = tone(1.5), 0
    for duration_s in cut:
        end = at + round(duration_s * 48_000)
        session.push(voice[at:end], 48_000)
        at = end
    session.finish()
    clock.let_go()
    frames = frames_in(list(session))
    spoken = [frame for frame in frames if frame.utterance is not None]
    assert [face_of(frame) for frame in spoken] == [16 + number for number in range(38)]
    assert np.array_equal(np.concatenate([frame.audio for frame in spoken])[: len(voice)], voice)
    blocks = [block.samples.tobytes() for block in model.blocks]
    whole = FakeModel()
    session = open_session(SessionSettings(block_s=0.4, lead_s=-1.0, late_after_s=1e9), whole, clock := HeldClock())
    session.push(voice, 48_000)
    session.finish()
    clock.let_go()
    list(session)
    assert blocks == [block.samples.tobytes() for block in whole.blocks]


def test_an_interruption_is_right_to_the_frame(open_session: Open) -> None:
    session = open_session()
    session.push(tone(3.0), 48_000)
    session.end_utterance()
    items = take_until(session, UtteranceStarted)
    spoken = frames_in(take(session, 7))
    interruption = session.clear()
    assert interruption == Interruption(0, 7 / 25)
    items = take(session, 6)
    assert items[0] == UtteranceFinished(0, 7 / 25, is_interrupted=True)
    after = frames_in(items)
    assert [frame.number for frame in after] == [spoken[-1].number + 1 + number for number in range(6)]
    assert all(frame.utterance is None for frame in after)
    voice = tone(3.0)[7 * 1920 :, 0].astype(float)
    faded = np.rint(voice[:960] * np.linspace(1, 0, 960, endpoint=False))
    assert np.array_equal(after[0].audio[:960, 0], faded), "20 ms"
    assert not after[0].audio[960:].any()
    assert not np.concatenate([frame.audio for frame in after[1:]]).any()
    last = face_of(spoken[-1]) - 16
    assert [face_of(frame) - 16 for frame in after[:3]] == [last * 2 // 3, last // 3, 0], "the mouth closes in 120 ms"
    assert [face_of(frame) for frame in after[3:]] == [REST] * 3


def test_what_is_pushed_after_an_interruption_is_another_utterance(open_session: Open) -> None:
    session = open_session()
    session.push(tone(3.0), 48_000)
    take_until(session, UtteranceStarted)
    take(session, 3)
    session.clear()
    session.push(tone(0.4), 48_000)
    session.end_utterance()
    items = take_until(session, UtteranceStarted)
    assert items[-1].utterance == 1  # type: ignore[attr-defined]
    spoken = frames_in(take_until(session, UtteranceFinished))
    assert [face_of(frame) for frame in spoken[:10]] == [16 + number for number in range(10)]


def test_interrupting_nothing_is_nothing(open_session: Open) -> None:
    session = open_session()
    assert session.clear() == Interruption(None, 0.0)
    take(session, 3)
    assert session.clear() == Interruption(None, 0.0)
    assert [frame.number for frame in frames_in(take(session, 3))] == [3, 4, 5]


def test_a_queued_utterance_that_never_began_is_told(open_session: Open) -> None:
    session = open_session()
    session.push(tone(0.8), 48_000)
    session.end_utterance()
    session.push(tone(0.8), 48_000)
    take_until(session, UtteranceStarted)
    take(session, 2)
    session.clear()
    items = take(session, 1)
    assert items[:2] == [UtteranceFinished(0, 2 / 25, True), UtteranceFinished(1, 0.0, True)]


def test_finish_says_all_and_ends(open_session: Open) -> None:
    session = open_session()
    session.push(tone(0.5), 48_000)
    session.finish()
    items = list(session)
    assert isinstance(items[-1], UtteranceFinished)
    assert len([frame for frame in frames_in(items) if frame.utterance == 0]) == 13


def test_a_voice_that_stays_away_ends_by_itself(open_session: Open) -> None:
    session = open_session()
    session.push(tone(0.3), 48_000)
    items = take_until(session, UtteranceFinished)
    assert any(isinstance(item, Late) for item in items) or items[-1].position_s >= 0.28  # type: ignore[attr-defined]


def test_the_end_of_a_voice_that_has_ended_by_itself_is_no_other_utterance(open_session: Open) -> None:
    session = open_session()
    session.push(tone(0.1), 16_000)  # whose last samples wait for what follows
    take_until(session, UtteranceFinished)
    session.finish()
    assert session.last_utterance == 0
    assert not any(isinstance(item, UtteranceStarted) for item in session)


def test_stereo_and_other_rates_are_converted(open_session: Open) -> None:
    session = open_session(SessionSettings(block_s=0.2, num_channels=2, late_after_s=1e9))
    times = np.arange(16_000) / 16_000
    mono = (0.25 * np.sin(2 * np.pi * 440 * times)).astype(np.float32)
    session.push(mono, 16_000)
    session.end_utterance()
    spoken = [frame for frame in frames_in(take_until(session, UtteranceFinished)) if frame.utterance == 0]
    audio = np.concatenate([frame.audio for frame in spoken]).astype(float)
    assert audio.shape[1] == 2
    wanted = 8192 * np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000)
    assert np.abs(audio[100:47_900, 0] - wanted[100:47_900]).max() < 40
    assert np.array_equal(audio[:, 0], audio[:, 1])


def test_rgb(open_session: Open) -> None:
    session = open_session(SessionSettings(pixel_format="rgb"))
    image = frames_in(take(session, 1))[0].image
    assert image.shape == (HEIGHT, WIDTH, 3)
    assert image.flags.c_contiguous


@pytest.mark.parametrize(
    "samples, rate",
    [
        (np.array([0.0, np.nan], np.float32), 16_000),
        (np.array([np.inf], np.float32), 16_000),
        (np.zeros(10), 16_000),
        (np.zeros(10, np.int32), 16_000),
        ([0, 1, 2], 16_000),
        (b"\0\0", 16_000),
        (np.zeros((10, 3), np.int16), 16_000),
        (np.zeros((10, 0), np.int16), 16_000),
        (np.zeros((2, 2, 2), np.int16), 16_000),
        (np.zeros(10, np.int16), 0),
        (np.zeros(10, np.int16), -1),
        (np.zeros(10, np.int16), 10**9),
        (np.zeros(10, np.int16), 16_000.5),
        (np.zeros(10, np.int16), True),
        (np.zeros(10, np.int16), None),
    ],
)
def test_what_is_no_audio_is_refused_and_harms_nothing(open_session: Open, samples: object, rate: object) -> None:
    session = open_session()
    with pytest.raises(SessionError):
        session.push(samples, rate)  # type: ignore[arg-type]
    session.push(tone(0.4), 48_000)
    session.finish()
    assert isinstance(list(session)[-1], UtteranceFinished)


def test_nothing_is_nothing(open_session: Open) -> None:
    session = open_session()
    session.push(np.zeros(0, np.int16), 16_000)
    session.end_utterance()
    assert all(isinstance(item, Frame) for item in take(session, 5))


def test_after_close_everything_is_refused(open_session: Open) -> None:
    session = open_session()
    take(session, 2)
    session.close()
    session.close()
    with pytest.raises(SessionError):
        session.push(tone(0.1), 48_000)
    with pytest.raises(SessionError):
        session.clear()
    with pytest.raises(StopIteration):
        next(session)


def test_a_second_consumer_is_refused(open_session: Open) -> None:
    session = open_session(SessionSettings(lead_s=0.1))
    take(session, 4)
    entered, errors = threading.Event(), []

    def consume() -> None:
        entered.set()
        take(session, 5)

    first = threading.Thread(target=consume)
    first.start()
    entered.wait()
    while first.is_alive() and not errors:
        try:
            next(session)
        except SessionError as error:
            errors.append(error)
    first.join()
    assert "one consumer" in errors[0].hint


def test_a_full_queue_waits_or_says_so(open_session: Open) -> None:
    session = open_session(SessionSettings(max_queued_s=1.0))
    session.push(tone(0.9), 48_000)
    with pytest.raises(QueueFullError):
        session.push(tone(1.5), 48_000, waits=False)
    pusher = threading.Thread(target=session.push, args=(tone(5.0), 48_000))
    pusher.start()
    take(session, 10)
    assert session.queued_s < 2.1
    session.clear()
    pusher.join(5)
    assert not pusher.is_alive(), "an interruption frees whoever waits, and drops what was to come"
    assert session.queued_s == 0


def test_close_frees_whoever_waits(open_session: Open) -> None:
    session = open_session(SessionSettings(max_queued_s=0.5))
    errors: list[BaseException] = []

    def push() -> None:
        try:
            session.push(tone(5.0), 48_000)
        except SessionError as error:
            errors.append(error)

    pusher = threading.Thread(target=push)
    pusher.start()
    take(session, 3)
    session.close()
    pusher.join(5)
    assert not pusher.is_alive()
    assert len(errors) == 1


def test_a_model_that_breaks_ends_the_iteration_with_its_error(open_session: Open) -> None:
    session = open_session(model=FakeModel(fails_at=40))
    session.push(tone(5.0), 48_000)
    with pytest.raises(Exception, match="cannot make frame 40"):
        take(session, 60)


def test_who_pushes_is_told_what_broke_the_session(open_session: Open) -> None:
    class BrokenModel(FakeModel):
        def make_faces(self, batch: FeatureBatch) -> FaceBatch:
            raise ValueError("cannot make any")

    session = open_session(SessionSettings(max_queued_s=0.5), BrokenModel())
    errors: list[Exception] = []

    def push() -> None:
        try:
            session.push(tone(20.0), 48_000)
        except Exception as error:
            errors.append(error)

    pusher = threading.Thread(target=push)
    pusher.start()
    with pytest.raises(StageError, match="cannot make any"):
        take_until(session, UtteranceFinished)
    pusher.join(10)
    assert [type(each) for each in errors] == [StageError]
    with pytest.raises(StageError, match="cannot make any"):
        session.push(tone(0.1), 48_000)
    session.close()
    with pytest.raises(SessionError, match="closed"):
        session.push(tone(0.1), 48_000)


def test_a_model_that_is_too_slow_holds_frames_and_says_so(open_session: Open) -> None:
    session = open_session(SessionSettings(late_after_s=0.1), FakeModel(delay_s=0.4))
    session.push(tone(3.0), 48_000)
    session.end_utterance()
    items = take_until(session, UtteranceFinished)
    assert sum(item.num_held for item in items if isinstance(item, Late)) > 10
    audio = np.concatenate([frame.audio for frame in frames_in(items) if frame.utterance == 0])
    assert np.array_equal(audio[: 3 * 48_000], tone(3.0)), "all of the voice, in its place"


class StalledEncoder:
    """Takes a frame and never gives anything back, until it is cancelled."""

    init_segment = None

    def __init__(self) -> None:
        self.has_begun, self.is_cancelled, self.is_closed = threading.Event(), threading.Event(), False

    def encode(self, images: object, audio: object, *, keyframe: bool = False) -> list[Fragment]:
        self.has_begun.set()
        self.is_cancelled.wait()
        raise EncoderError("cancelled")

    def finish(self) -> list[Fragment]:
        return []

    def cancel(self) -> None:
        self.is_cancelled.set()

    def close(self) -> None:
        self.is_closed = True


def test_close_frees_a_consumer_that_waits_for_the_encoder() -> None:
    encoder = StalledEncoder()
    session = Session(FakeModel(), fake_avatar(), FAST, encoder)
    taken: list[object] = []
    consumer = threading.Thread(target=lambda: taken.extend(session))
    consumer.start()
    encoder.has_begun.wait()
    session.close()
    consumer.join(20)
    assert not consumer.is_alive()
    assert taken == []
    assert encoder.is_closed


def test_a_lost_session_closes_its_encoder() -> None:
    encoder, is_over = StalledEncoder(), threading.Event()
    session = Session(FakeModel(), fake_avatar(), FAST, encoder)
    session.on_close(is_over.set)
    with pytest.warns(ResourceWarning, match="without having been closed"):
        del session
    assert is_over.wait(20)
    assert encoder.is_closed


def test_a_session_that_does_not_get_its_threads_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    start, encoder = threading.Thread.start, StalledEncoder()

    def refuse_most(thread: threading.Thread) -> None:
        if thread.name != "musetalk-source":
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as refusing, pytest.raises(RuntimeError, match="new thread"):
        refusing.setattr(threading.Thread, "start", refuse_most)
        Session(FakeModel(), fake_avatar(), FAST, encoder)
    assert encoder.is_closed


def test_sessions_share_a_model_and_an_avatar() -> None:
    model, avatar = FakeModel(), fake_avatar(frames := FakeFrames())
    sessions = [Session(model, avatar, FAST) for _ in range(5)]
    for session in sessions:
        session.push(tone(0.4), 48_000)
        session.finish()
    faces = [[face_of(frame) for frame in frames_in(list(session)) if frame.utterance == 0] for session in sessions]
    assert faces == [[16 + number for number in range(10)]] * 5
    for session in sessions:
        session.close()
    assert not frames.is_closed


def test_a_session_that_is_lost_ends_and_says_so() -> None:
    before = set(threading.enumerate())
    session = Session(FakeModel(), fake_avatar(), FAST)
    session.push(tone(3.0), 48_000)
    take(session, 3)
    threads = set(threading.enumerate()) - before
    assert threads
    with pytest.warns(ResourceWarning, match="without having been closed"):
        del session
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()


def test_a_session_that_was_closed_says_nothing(recwarn: pytest.WarningsRecorder) -> None:
    session = Session(FakeModel(), fake_avatar(), FAST)
    session.close()
    del session
    assert not [warning for warning in recwarn if warning.category is ResourceWarning]


def test_a_taker_sees_the_end_while_another_thread_closes() -> None:
    class SlowEncoder:
        init_segment = InitSegment(b"")

        def encode(self, images: object, audio: object, *, keyframe: bool = False) -> list[Fragment]:
            return []

        def finish(self) -> list[Fragment]:
            return []

        def cancel(self) -> None:
            pass

        def close(self) -> None:
            taker = threading.Thread(target=lambda: taken.append(next(session, "ended")))
            taker.start()
            taker.join()

    taken: list[object] = []
    session = Session(FakeModel(), fake_avatar(), FAST, SlowEncoder())
    session.close()
    assert taken == ["ended"]


def test_it_tells_which_utterance_was_pushed_to_last(open_session: Open) -> None:
    session = open_session()
    numbers = [session.last_utterance]
    for _ in range(2):
        session.push(tone(0.2), 48_000)
        session.end_utterance()
        numbers.append(session.last_utterance)
    session.clear()
    assert [*numbers, session.last_utterance, session.num_clears] == [None, 0, 1, 1, 1]
