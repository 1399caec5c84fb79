"""MuseTalkVideoGenerator with the real AvatarRunner, QueueAudioOutput and AgentSession, in a pretended room."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

pytest.importorskip("livekit.agents", reason="needs the extra livekit")

from livekit import rtc
from livekit.agents import Agent, AgentSession
from livekit.agents.voice.avatar import AudioSegmentEnd

import musetalk_cli
from musetalk_cli import AvatarError, OpenAvatar
from musetalk_cli.integrations.livekit import MuseTalkVideoGenerator, RunningAvatar, start
from tests.integrations.pretended_room import Listener, PretendedRoom, speech
from tests.integrations.threads import left_threads

PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def avatar() -> Iterator[OpenAvatar]:
    with musetalk_cli.open_avatar("nora", size=64) as opened:
        yield opened


class Playback:
    """The events of an audio output, in their order."""

    def __init__(self, running: RunningAvatar) -> None:
        self.events: list[tuple[str, Any]] = []
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        for name in ("playback_started", "playback_finished"):
            running.audio.on(name, lambda event, name=name: self._note(name, event))

    def _note(self, name: str, event: Any) -> None:
        self.events.append((name, event))
        self._tasks.add(asyncio.ensure_future(self._tell()))

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.events]

    @property
    def finished(self) -> list[tuple[float, bool]]:
        """Position and whether it was interrupted, of each segment."""
        ends = [event for name, event in self.events if name == "playback_finished"]
        return [(round(event.playback_position, 3), event.interrupted) for event in ends]

    async def wait_for(self, name: str, count: int = 1) -> None:
        async with self._changed:
            await asyncio.wait_for(self._changed.wait_for(lambda: self.names.count(name) >= count), PATIENCE_S)


@asynccontextmanager
async def agent(
    avatar: OpenAvatar, room: PretendedRoom
) -> AsyncIterator[tuple[AgentSession[Any], RunningAvatar, Playback]]:
    session: AgentSession[Any] = AgentSession()
    running = await start(session, room, avatar)
    playback = Playback(running)
    try:
        await session.start(Agent(instructions="speak"))
        yield session, running, playback
    finally:
        await session.aclose()
        await running.aclose()


def test_a_speech_is_played_to_its_end_and_reported(avatar: OpenAvatar) -> None:
    async def main() -> Playback:
        async with agent(avatar, PretendedRoom()) as (session, _, playback):
            for _ in range(2):
                await asyncio.wait_for(session.say("hello", audio=speech(0.6)).wait_for_playout(), PATIENCE_S)
            return playback

    playback = asyncio.run(main())
    assert playback.names == ["playback_started", "playback_finished"] * 2
    assert playback.finished == [(0.6, False)] * 2


def test_an_interruption_is_answered_and_heard_within_the_time_that_livekit_allows(avatar: OpenAvatar) -> None:
    async def main() -> tuple[Playback, float, float]:
        room = PretendedRoom()
        async with agent(avatar, room) as (session, _, playback):
            handle = session.say("a long story", audio=speech(20.0))
            await asyncio.wait_for(room.local_participant.has_both.wait(), PATIENCE_S)
            listener = Listener(room.local_participant.published[0][0])
            await asyncio.wait_for(listener.has_voice.wait(), PATIENCE_S)
            interrupted_at = time.monotonic()
            handle.interrupt()
            await asyncio.wait_for(playback.wait_for("playback_finished"), 2)
            answered_s = time.monotonic() - interrupted_at
            await session.say("sorry?", audio=speech(0.4)).wait_for_playout()
            await listener.aclose()
            pause = next(
                (
                    before
                    for before, after in zip(listener.voiced_at, listener.voiced_at[1:], strict=False)
                    if after - before > 0.05
                ),
                listener.voiced_at[-1],
            )
            return playback, answered_s, pause - interrupted_at

    playback, answered_s, last_voiced_s = asyncio.run(main())
    assert playback.names == ["playback_started", "playback_finished"] * 2
    (position_s, is_interrupted), reply = playback.finished
    assert is_interrupted
    assert 0 < position_s < 20.0
    assert reply == (0.4, False)
    assert answered_s < 2
    assert last_voiced_s < 2


def test_video_is_published_as_h264_without_simulcast_once_the_room_is_connected(avatar: OpenAvatar) -> None:
    async def main() -> list[rtc.TrackPublishOptions]:
        room = PretendedRoom(is_connected=False)
        async with agent(avatar, room):
            assert room.local_participant.published == []
            room.connect()
            await asyncio.wait_for(room.local_participant.has_both.wait(), PATIENCE_S)
            return [options for _, options in room.local_participant.published]

    audio, video = asyncio.run(main())
    assert audio.source == rtc.TrackSource.SOURCE_MICROPHONE
    assert video.source == rtc.TrackSource.SOURCE_CAMERA
    assert (video.video_codec, video.simulcast) == (rtc.VideoCodec.H264, False)
    assert video.video_encoding.max_framerate == 25


def test_between_segments_there_is_video_and_no_audio(avatar: OpenAvatar) -> None:
    async def main() -> list[object]:
        async with MuseTalkVideoGenerator(avatar) as generator:
            items: list[object] = []

            async def take() -> None:
                async for item in generator:
                    items.append(item)
                    if isinstance(item, AudioSegmentEnd):
                        return

            taking = asyncio.create_task(take())
            async for chunk in speech(0.6):
                await generator.push_audio(chunk)
            await generator.push_audio(AudioSegmentEnd())
            await asyncio.wait_for(taking, PATIENCE_S)
            return items

    items = asyncio.run(main())
    audio = [item for item in items if isinstance(item, rtc.AudioFrame)]
    assert [(item.sample_rate, item.num_channels, item.samples_per_channel) for item in audio] == [
        (48_000, 1, 1920)
    ] * 15
    for index, item in enumerate(items):  # each audio frame right behind the video frame that it belongs to
        if isinstance(item, rtc.AudioFrame):
            video = items[index - 1]
            assert isinstance(video, rtc.VideoFrame)
            assert (video.width, video.height, video.type) == (64, 64, rtc.VideoBufferType.I420)
    assert isinstance(items[-1], AudioSegmentEnd)


def test_idle_frames_that_had_to_wait_are_left_out(avatar: OpenAvatar, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever takes frames at a pace of his own, and was late once, would be late for ever."""

    async def session() -> AsyncIterator[musetalk_cli.Frame]:
        image, silence = np.zeros((96, 64), np.uint8), np.zeros((1920, 1), np.int16)
        for number in range(10):
            if number == 9:
                await asyncio.sleep(0.05)  # it is not due before
            yield musetalk_cli.Frame(number, number / 25, image, silence, 0 if number == 4 else None, 0.0)

    async def main() -> list[type]:
        generator = MuseTalkVideoGenerator(avatar)
        monkeypatch.setattr(generator, "_session", session())
        return [type(item) async for item in generator]

    # The frame of the voice with its audio, and the one that was waited for.
    assert asyncio.run(main()) == [rtc.VideoFrame, rtc.AudioFrame, rtc.VideoFrame]


def test_an_end_without_a_segment_is_not_passed_on(avatar: OpenAvatar) -> None:
    async def main() -> list[object]:
        async with MuseTalkVideoGenerator(avatar) as generator:
            async for chunk in speech(10.0):
                await generator.push_audio(chunk)
            frames = aiter(generator)
            while not isinstance(await anext(frames), rtc.AudioFrame):
                pass
            taking = asyncio.ensure_future(take_silence(frames))
            await asyncio.wait_for(generator.clear_buffer(), 2)
            await generator.push_audio(AudioSegmentEnd())  # an agent flushes after it has cleared
            return await asyncio.wait_for(taking, PATIENCE_S)

    async def take_silence(frames: AsyncIterator[object]) -> list[object]:
        items: list[object] = []
        while len(items) < 5 or any(isinstance(item, rtc.AudioFrame) for item in items[-5:]):
            items.append(await anext(frames))
        return items

    assert not any(isinstance(item, AudioSegmentEnd) for item in asyncio.run(main()))


def test_a_clear_that_nobody_takes_frames_behind_returns(avatar: OpenAvatar) -> None:
    async def main() -> None:
        async with MuseTalkVideoGenerator(avatar) as generator:
            async for chunk in speech(2.0):
                await generator.push_audio(chunk)
            frames = aiter(generator)
            while not isinstance(await anext(frames), rtc.AudioFrame):
                pass
            await asyncio.wait_for(generator.clear_buffer(), 2)

    asyncio.run(main())


def test_closing_leaves_no_thread_and_an_avatar_by_name_is_closed_too() -> None:
    async def main() -> OpenAvatar:
        session: AgentSession[Any] = AgentSession()
        running = await start(session, PretendedRoom(), "nora", size=64)
        await running.aclose()
        return running.generator.avatar

    avatar = asyncio.run(main())
    assert left_threads() == []
    with pytest.raises(musetalk_cli.SessionError, match="closed"):
        avatar.open_session()


def test_an_avatar_that_is_not_there_is_an_error() -> None:
    async def main() -> None:
        await start(AgentSession(), PretendedRoom(), "nobody-of-that-name")

    with pytest.raises(AvatarError, match="nobody-of-that-name"):
        asyncio.run(main())
