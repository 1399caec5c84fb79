"""Short versions of the campaigns, with the fake model."""

from __future__ import annotations

from fractions import Fraction

from fixtures.fakes import HEIGHT, WIDTH, FakeModel, fake_avatar, tone
from musetalk_cli.app.session_assembly import Output
from musetalk_cli.engine.session import Session, SessionSettings
from musetalk_cli.engine.video.encoder import EncoderSettings
from musetalk_cli.engine.video.inprocess_encoder import InProcessEncoder
from tools.campaign import interruptions, session_leaks, timelines

SETTINGS = SessionSettings(block_s=0.2, late_after_s=1e9)


def open_session(output: Output) -> Session:
    size = EncoderSettings(WIDTH, HEIGHT, Fraction(25), 1, "ultrafast", "zerolatency", 23, None, 64, 1.0)
    return Session(FakeModel(), fake_avatar(), SETTINGS, InProcessEncoder(size) if output == "fragments" else None)


def test_sessions_leave_nothing_behind() -> None:
    before, after = session_leaks.run(open_session, len(session_leaks.WAYS) * len(session_leaks.OUTPUTS))
    assert session_leaks.find_leaks(before, after) == []


def test_a_leak_is_seen() -> None:
    before = session_leaks.Held(4, 10, 0, 100.0)
    after = session_leaks.Held(5, 12, 1, 150.0)
    leaks = ["1 threads more", "2 descriptors more", "1 children more", "50 MB more"]
    assert session_leaks.find_leaks(before, after) == leaks


def test_interruptions_are_exact() -> None:
    seen = interruptions.run(open_session("frames"), tone(3.0), 6, seed=3, most_s=0.3)
    assert seen.broken == []
    assert len(seen.off_frames) == 6


def test_a_campaign_of_lives_names_what_fails() -> None:
    assert timelines.run_group((0, 5)) == (5, [])
