"""Several sessions at once with one model: each shows what it shows alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from fixtures.drawn_face import draw_face
from fixtures.drawn_video import talking_avatar
from fixtures.fakes import FakeModel, fake_avatar, tone
from musetalk_cli.engine.avatar.avatar import Avatar
from musetalk_cli.engine.avatar.frames import StillFrames
from musetalk_cli.engine.live.clock import StreamClock
from musetalk_cli.engine.models.base import LipSyncModel
from musetalk_cli.engine.models.warp.model import WarpModel
from musetalk_cli.engine.session import Session, SessionSettings
from musetalk_cli.engine.types.messages import AudioArray, Deadline, FaceBatch, FeatureBatch
from musetalk_cli.engine.types.session import Frame
from tests.engine.test_session import HeldClock

RATE = Fraction(25)
HEIGHT_PX = 200
AT_ONCE = SessionSettings(block_s=0.4, lead_s=1e3, late_after_s=1e9, batch_size=4)
FROM_ZERO = replace(AT_ONCE, lead_s=-1.0)  # nothing leaves before the clock is let go
NUM_SESSIONS = 4


def still() -> Avatar:
    image, face = draw_face(own_gap=0.1)
    return Avatar("still", StillFrames(image), None, (face,))


class StandingClock(StreamClock):
    """Stands at 0; until there is a voice so long before that nothing is due: silent frames would fill the session."""

    def __init__(self) -> None:
        super().__init__(lambda: 0.0)
        self.has_voice = False

    def read(self) -> float:
        return super().read() if self.has_voice else -2 * AT_ONCE.lead_s


def say(model: LipSyncModel, avatar: Avatar, voice: AudioArray) -> list[Frame]:
    """The frames of a session in which a voice speaks, from its first to its last."""
    clock = HeldClock()
    with Session(model, avatar, FROM_ZERO, clock=clock) as session:
        session.push(voice, 48_000)
        session.finish()
        clock.let_go()
        frames = [item for item in session if isinstance(item, Frame)]
    return [frame for frame in frames if frame.utterance is not None]


def voices() -> list[AudioArray]:
    random = np.random.default_rng(2)
    return [(tone(1.2) * random.uniform(0.1, 1.0, (57_600, 1))).astype(np.int16) for _ in range(NUM_SESSIONS)]


def with_warp(avatar: Avatar) -> tuple[LipSyncModel, Avatar]:
    model = WarpModel(avatar, RATE, HEIGHT_PX, liveliness=0.0, seed=1)
    return model, avatar.resized(HEIGHT_PX)


@pytest.mark.parametrize("draw", [still, lambda: talking_avatar(9)], ids=["still", "video"])
def test_warp_sessions_in_threads_show_what_they_show_alone(draw: Callable[[], Avatar]) -> None:
    model, avatar = with_warp(draw())
    alone = [say(model.clone(shares_batches=True), avatar, voice) for voice in voices()]
    with ThreadPoolExecutor(NUM_SESSIONS) as pool:
        together = list(pool.map(lambda voice: say(model.clone(shares_batches=True), avatar, voice), voices()))
    for mine, wanted in zip(together, alone, strict=True):
        assert len(mine) == len(wanted) == 30
        mouths = {frame.image.tobytes() for frame in mine}
        assert len(mouths) > 10
        assert [frame.number for frame in mine] == [frame.number for frame in wanted]
        for frame, other in zip(mine, wanted, strict=True):
            assert np.array_equal(frame.image, other.image)
            assert np.array_equal(frame.audio, other.audio)


def test_warp_sessions_do_not_wait_for_each_other() -> None:
    """All of them are inside the model at the same time."""
    model, avatar = with_warp(still())
    inside = threading.Barrier(NUM_SESSIONS, timeout=30)
    render = model._face.render  # type: ignore[attr-defined]
    met = threading.local()

    def render_together(*args: object) -> object:
        if not getattr(met, "is_done", False):
            met.is_done = True
            inside.wait()
        return render(*args)

    model._face.render = render_together  # type: ignore[attr-defined]
    with ThreadPoolExecutor(NUM_SESSIONS) as pool:
        assert all(len(frames) == 30 for frames in pool.map(lambda voice: say(model, avatar, voice), voices()))


def test_a_sessions_batches_have_deadlines_until_they_are_interrupted() -> None:
    seen: list[tuple[range, Deadline | None]] = []
    interrupted = threading.Event()

    class Model(FakeModel):
        def make_faces(self, batch: FeatureBatch) -> FaceBatch:
            seen.append((batch.frames, batch.deadline))
            assert batch.deadline is not None
            if batch.frames.start > 4:
                has_spoken.set()
                assert interrupted.wait(30)
                is_wanted.append(batch.deadline.is_wanted())
            return super().make_faces(batch)

    has_spoken, is_wanted = threading.Event(), list[bool]()
    started = time.monotonic()
    clock = StandingClock()
    with Session(Model(), fake_avatar(), AT_ONCE, clock=clock) as session:
        session.push(tone(2.0), 48_000)
        session.end_utterance()
        clock.has_voice = True
        assert has_spoken.wait(30)
        session.clear()
        interrupted.set()
    assert is_wanted[0] is False
    for frames, deadline in seen:
        assert deadline is not None
        assert deadline.due_at >= started + frames.start / 25, "a clock that stands still is at 0"
