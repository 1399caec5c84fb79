"""Sessions as they are opened: their frames are those of a render, their avatar is shared, their encoder is chosen."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from fixtures.fakes import FakeModel, HeldClock, fake_avatar
from fixtures.media import read_audio, read_frames
from musetalk_cli.app import session_assembly
from musetalk_cli.app.avatars.choice import choose_avatar
from musetalk_cli.app.session_assembly import OpenAvatar, SessionArguments, SharedAvatars, open_avatar
from musetalk_cli.configuration.schema import AudioConfig, Config, StreamConfig, VideoConfig
from musetalk_cli.engine.audio.voice_input import ArraySource
from musetalk_cli.engine.live.clock import StreamClock
from musetalk_cli.engine.outputs.fragments import Fragment, InitSegment
from musetalk_cli.engine.outputs.sinks import NullSink
from musetalk_cli.engine.pipeline import Pipeline, PipelineSettings, read_whole
from musetalk_cli.engine.session import Session, SessionSettings
from musetalk_cli.engine.types.session import Frame, UtteranceFinished
from musetalk_cli.engine.video import child_encoder, encoder_choice, inprocess_encoder
from musetalk_cli.engine.video.child_encoder import ChildEncoder
from musetalk_cli.engine.video.frame_queue import FrameQueue
from musetalk_cli.errors import AvatarError, EncoderError

BLOCK_S = 0.4
CONFIG = Config(model="warp", video=VideoConfig(size=96), audio=AudioConfig(target_duration=BLOCK_S))


@pytest.fixture(params=["nora", "theo"])
def avatar(request: pytest.FixtureRequest) -> Iterator[OpenAvatar]:
    with open_avatar(Config(**{**vars(CONFIG), "avatar": request.param}), str) as opened:
        yield opened


def speech(duration_s: float) -> np.ndarray:
    """A buzz with a syllable rhythm, int16 (n,) at 48 kHz."""
    times = np.arange(int(duration_s * 48_000)) / 48_000
    envelope = np.clip(np.sin(2 * np.pi * 3 * times), 0, 1)
    return (8_000 * np.sign(np.sin(2 * np.pi * 120 * times)) * envelope).astype(np.int16)


def render(avatar: OpenAvatar, voice: np.ndarray) -> list[np.ndarray]:
    """All frames of a pipeline that reads the voice as a file."""
    rate = avatar.frame_rate
    settings = PipelineSettings(BLOCK_S, 2, 8, 2, rate)
    queue = FrameQueue(rate, 1, StreamClock(lambda: 1e3 * time.monotonic()), lead_s=1e9)
    feed = read_whole(ArraySource(voice, 48_000), avatar._model, settings)
    pipeline = Pipeline(feed, avatar._model, avatar._shown, queue, NullSink(), settings, 0.0)
    pipeline.start()
    images = []
    while (frame := queue.take()) is not None:
        images.append(frame.image)
    pipeline.abort()
    pipeline.wait(5)
    pipeline._workers.close()
    return images


@pytest.mark.parametrize("num_pieces", [1, 7, 150])
def test_a_pushed_voice_has_the_frames_of_a_rendered_one(avatar: OpenAvatar, num_pieces: int) -> None:
    voice, clock = speech(2.3), HeldClock()
    settings = SessionSettings(avatar.frame_rate, block_s=BLOCK_S, lead_s=-1.0, late_after_s=1e9)
    with Session(avatar._model.clone(), avatar._shown, settings, clock=clock) as session:
        for piece in np.array_split(voice, num_pieces):
            session.push(piece, 48_000)
        session.finish()
        clock.let_go()
        spoken = [item.image for item in session if isinstance(item, Frame) and item.utterance == 0]
    rendered = render(avatar, voice)
    assert len(spoken) == len(rendered) == 57
    for number, (mine, theirs) in enumerate(zip(spoken, rendered, strict=True)):
        assert np.array_equal(mine, theirs), f"frame {number}"


class FakeAvatar:
    """Stands in for an open avatar whose sessions are those of a fake model."""

    def __init__(self) -> None:
        self.is_closed = threading.Event()

    def open_session(self, **arguments: object) -> Session:
        assert not self.is_closed.is_set()
        return Session(FakeModel(), fake_avatar(), SessionSettings(late_after_s=1e9))

    def close(self) -> None:
        assert not self.is_closed.is_set(), "once"
        self.is_closed.set()


@pytest.fixture
def shared() -> SharedAvatars:
    return SharedAvatars()


def open_all(shared: SharedAvatars, configs: list[Config]) -> tuple[list[threading.Thread], list[Session]]:
    sessions: list[Session] = []

    def open_one(config: Config) -> None:
        sessions.append(shared.open_session(config, SessionArguments()))

    threads = [threading.Thread(target=open_one, args=(config,)) for config in configs]
    for thread in threads:
        thread.start()
    return threads, sessions


def test_sessions_of_other_avatars_do_not_wait_for_one_that_is_opened(
    shared: SharedAvatars, monkeypatch: pytest.MonkeyPatch
) -> None:
    both_are_opened = threading.Barrier(2, timeout=30)

    def open_it(config: Config, tell: object) -> FakeAvatar:
        both_are_opened.wait()
        return FakeAvatar()

    monkeypatch.setattr(session_assembly, "open_avatar", open_it)
    threads, sessions = open_all(shared, [Config(avatar="nora"), Config(avatar="theo")])
    for thread in threads:
        thread.join()
    assert len(sessions) == 2
    for session in sessions:
        session.close()
    assert shared._shared == {}


def test_two_sessions_of_one_avatar_open_it_once(shared: SharedAvatars, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[FakeAvatar] = []

    def open_it(config: Config, tell: object) -> FakeAvatar:
        while shared._shared[config].num_sessions < 2:  # until the other one has asked for it, too
            time.sleep(0)
        opened.append(FakeAvatar())
        return opened[-1]

    monkeypatch.setattr(session_assembly, "open_avatar", open_it)
    threads, sessions = open_all(shared, [Config(), Config()])
    for thread in threads:
        thread.join()
    assert len(opened) == 1
    sessions[0].close()
    assert not opened[0].is_closed.is_set()
    sessions[1].close()
    sessions[1].close()
    assert opened[0].is_closed.is_set()
    assert shared._shared == {}


def test_an_avatar_that_cannot_be_opened_leaves_nothing(shared: SharedAvatars, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts: list[Config] = []

    def fail_once(config: Config, tell: object) -> FakeAvatar:
        attempts.append(config)
        if len(attempts) == 1:
            raise AvatarError("no such avatar")
        return FakeAvatar()

    monkeypatch.setattr(session_assembly, "open_avatar", fail_once)
    with pytest.raises(AvatarError, match="no such"):
        shared.open_session(Config(), SessionArguments())
    assert shared._shared == {}
    shared.open_session(Config(), SessionArguments()).close()
    assert len(attempts) == 2


def test_a_lost_session_releases_its_avatar(shared: SharedAvatars, monkeypatch: pytest.MonkeyPatch) -> None:
    avatar = FakeAvatar()
    monkeypatch.setattr(session_assembly, "open_avatar", lambda config, tell: avatar)
    session = shared.open_session(Config(), SessionArguments())
    next(session)
    with pytest.warns(ResourceWarning, match="without having been closed"):
        del session
    assert avatar.is_closed.wait(30)
    assert shared._shared == {}


@pytest.mark.parametrize("num_channels", [1, 2])
def test_fragments_play_without_pyav(
    ffmpeg: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, num_channels: Literal[1, 2]
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    voice = speech(0.8)
    with open_avatar(CONFIG, str) as avatar:
        with avatar.open_session(output="fragments", num_channels=num_channels) as session:
            assert isinstance(session._output._encoder, ChildEncoder)
            session.push(voice, 48_000)
            session.finish()
            items = list(session)
        with avatar.open_session(output="fragments", num_channels=num_channels) as session:
            assert isinstance(next(item for item in session if isinstance(item, InitSegment)), InitSegment)
    parts = [item for item in items if isinstance(item, InitSegment | Fragment)]
    assert [type(part) for part in parts].index(InitSegment) == 0
    assert sum(isinstance(part, InitSegment) for part in parts) == 1
    path = tmp_path / "session.mp4"
    path.write_bytes(b"".join(part.data for part in parts))
    num_frames = sum(part.num_frames for part in parts)
    num_samples = len(read_audio(ffmpeg, path, num_channels))
    assert len(read_frames(ffmpeg, path, 96, 96)) == num_frames >= 20
    assert 0 <= num_samples - num_frames * 1920 < 2048
    spoken = next(item for item in items if isinstance(item, UtteranceFinished))
    assert spoken.position_s == 0.8


def test_what_was_said_at_the_end_is_in_the_last_fragments(ffmpeg: str) -> None:
    pytest.importorskip("av", reason="needs PyAV")
    with open_avatar(CONFIG, str) as avatar, avatar.open_session(output="fragments") as session:
        session.push(speech(0.8), 48_000)
        session.finish()
        items = list(session)
    parts = [item for item in items if isinstance(item, InitSegment | Fragment)]
    video, num_frames = b"".join(part.data for part in parts), sum(part.num_frames for part in parts)
    assert len(read_audio(ffmpeg, video)) >= num_frames * 1920


@pytest.mark.parametrize(
    "wanted, has_pyav, kind, codec",
    [
        ("auto", True, "InProcessEncoder", None),
        ("x264", True, "InProcessEncoder", None),
        ("auto", False, "ChildEncoder", "libx264"),
        ("x264", False, "ChildEncoder", "libx264"),
        ("nvenc", True, "ChildEncoder", "h264_nvenc"),
        ("videotoolbox", True, "ChildEncoder", "h264_videotoolbox"),
    ],
)
def test_the_settings_and_what_is_installed_choose_the_encoder(
    monkeypatch: pytest.MonkeyPatch, wanted: str, has_pyav: bool, kind: str, codec: str | None
) -> None:
    made: list[tuple[str, str | None]] = []
    monkeypatch.setattr(session_assembly, "find_spec", lambda name: object() if has_pyav else None)
    monkeypatch.setattr(encoder_choice, "probe_codec", lambda ffmpeg, codec: None)
    monkeypatch.setattr(inprocess_encoder, "InProcessEncoder", lambda settings: made.append(("InProcessEncoder", None)))
    monkeypatch.setattr(
        child_encoder, "ChildEncoder", lambda ffmpeg, settings: made.append(("ChildEncoder", settings.codec))
    )
    config = Config(stream=StreamConfig(encoder=wanted))  # type: ignore[arg-type]
    session_assembly.open_encoder(config, choose_avatar(config), 1)
    assert made == [(kind, codec)]


def test_a_hardware_encoder_that_does_not_work_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder_choice, "probe_codec", lambda ffmpeg, codec: "no device")
    config = Config(**{**vars(CONFIG), "stream": StreamConfig(encoder="nvenc")})
    with open_avatar(config, str) as avatar, pytest.raises(EncoderError, match="nvenc does not work here"):
        avatar.open_session(output="fragments")
