"""MuseTalkVideoService in whole pipelines of the real Pipecat, with its own output transport."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pipecat", reason="needs the extra pipecat")

from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    EndFrame,
    ErrorFrame,
    Frame,
    InterruptionFrame,
    LLMFullResponseEndFrame,
    OutputAudioRawFrame,
    OutputImageRawFrame,
    TextFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
)

import musetalk_cli
from musetalk_cli import OpenAvatar, UtteranceFinished, UtteranceStarted
from musetalk_cli.integrations.pipecat import MuseTalkVideoService, transport_params
from tests.integrations.pipecat_talk import Talk, talk
from tests.integrations.threads import left_threads

FRAME_S = 0.04


@pytest.fixture(scope="module")
def avatar() -> Iterator[OpenAvatar]:
    with musetalk_cli.open_avatar("nora", size=64) as opened:
        yield opened


def is_voiced(frame: Frame) -> bool:
    return isinstance(frame, OutputAudioRawFrame) and bool(np.frombuffer(frame.audio, "<i2").any())


def kinds(frames: list[Frame], *wanted: type[Frame]) -> list[type[Frame]]:
    """The kinds of frames in their order, each run of one kind once."""
    found = [kind for frame in frames for kind in wanted if isinstance(frame, kind)]
    return [kind for index, kind in enumerate(found) if index == 0 or kind is not found[index - 1]]


async def speak(running: Talk, duration_s: float) -> None:
    await running.send(TTSStartedFrame())
    await running.say(duration_s)
    await running.send(TTSStoppedFrame())


def test_a_voice_comes_out_with_an_image_for_each_of_its_frames(avatar: OpenAvatar) -> None:
    async def main() -> Talk:
        async with talk(avatar) as running:
            await speak(running, 0.6)
            await running.send(EndFrame())
            await running.ended()
            return running

    running = asyncio.run(main())
    images, audio = running.behind.of(OutputImageRawFrame), running.behind.of(OutputAudioRawFrame)
    assert len(images) == len(audio) > 15
    assert {(image.size, image.format, image.sync_with_audio) for image in images} == {((64, 64), "RGB", True)}
    assert {len(each.audio) for each in audio} == {2 * 1920}
    spoken = running.behind.of(TTSAudioRawFrame)
    assert len(spoken) == 15
    assert sum(is_voiced(each) for each in spoken) == 15
    assert not any(is_voiced(each) for each in audio if each not in spoken)
    assert len({image.image for image in images}) > 5  # the mouth moves


def test_an_image_goes_ahead_of_its_own_audio(avatar: OpenAvatar) -> None:
    async def main() -> list[Any]:
        async with talk(avatar) as running:
            await speak(running, 0.2)
            await running.send(EndFrame())
            await running.ended()
            return [
                frame
                for _, frame in running.behind.frames
                if isinstance(frame, OutputImageRawFrame | OutputAudioRawFrame)
            ]

    frames = asyncio.run(main())
    assert all(isinstance(frame, OutputImageRawFrame) for frame in frames[0::2])
    assert all(isinstance(frame, OutputAudioRawFrame) for frame in frames[1::2])


def test_what_follows_a_voice_waits_until_it_was_shown(avatar: OpenAvatar) -> None:
    async def main() -> Talk:
        async with talk(avatar) as running:
            for text in ("one", "two"):
                await running.send(TTSStartedFrame())
                await running.say(0.4)
                await running.send(TextFrame(text), TTSStoppedFrame(), LLMFullResponseEndFrame())
            await running.send(EndFrame())
            await running.ended()
            return running

    running = asyncio.run(main())
    order = kinds(
        [frame for _, frame in running.behind.frames],
        TTSStartedFrame,
        TTSAudioRawFrame,
        TextFrame,
        TTSStoppedFrame,
        LLMFullResponseEndFrame,
        EndFrame,
    )
    one = [TTSStartedFrame, TTSAudioRawFrame, TextFrame, TTSStoppedFrame, LLMFullResponseEndFrame]
    assert order == [*one, *one, EndFrame]
    assert len(running.behind.of(TTSAudioRawFrame)) == 20


def test_a_frame_with_a_time_of_its_own_does_not_wait(avatar: OpenAvatar) -> None:
    async def main() -> int:
        async with talk(avatar) as running:
            await running.say(8.0)
            word = TextFrame("word")
            word.pts = 1
            await running.send(word)
            index = await running.behind.wait_for(lambda frame: isinstance(frame, TextFrame))
            return sum(is_voiced(frame) for _, frame in running.behind.frames[:index])

    assert asyncio.run(main()) < 50


def test_the_transport_knows_when_the_avatar_speaks(avatar: OpenAvatar) -> None:
    async def main() -> Talk:
        async with talk(avatar) as running:
            for _ in range(2):
                await speak(running, 0.3)
                await running.before.wait_for(
                    lambda frame: isinstance(frame, BotStoppedSpeakingFrame), len(running.before.frames)
                )
            return running

    running = asyncio.run(main())
    states = kinds([frame for _, frame in running.before.frames], BotStartedSpeakingFrame, BotStoppedSpeakingFrame)
    assert states == [BotStartedSpeakingFrame, BotStoppedSpeakingFrame] * 2


def test_an_interruption_ends_the_voice_at_once_and_drops_what_waits_behind_it(avatar: OpenAvatar) -> None:
    async def main() -> tuple[Talk, int]:
        async with talk(avatar) as running:
            await speak(running, 8.0)
            await running.behind.wait_for(is_voiced)
            await running.send(InterruptionFrame())
            interrupted = await running.behind.wait_for(lambda frame: isinstance(frame, InterruptionFrame))
            await running.say(0.3, frequency_hz=330)
            await running.send(TTSStoppedFrame(), EndFrame())
            await running.ended()
            return running, interrupted

    running, interrupted = asyncio.run(main())
    before = [frame for _, frame in running.behind.frames[:interrupted]]
    after = [frame for _, frame in running.behind.frames[interrupted:]]
    assert TTSStoppedFrame not in kinds(before, TTSStoppedFrame)
    assert kinds(after, InterruptionFrame, TTSAudioRawFrame, TTSStoppedFrame, EndFrame) == [
        InterruptionFrame, TTSAudioRawFrame, TTSStoppedFrame, EndFrame,
    ]  # fmt: skip
    first_reply = next(index for index, frame in enumerate(after) if isinstance(frame, TTSAudioRawFrame))
    fading = [frame for frame in after[:first_reply] if is_voiced(frame)]
    assert len(fading) <= 2  # one that was on its way, and the fade of 20 ms
    assert sum(map(is_voiced, after)) - len(fading) == 8  # the reply's 0.3 s, to the frame
    finished = [event for event in running.events if isinstance(event, UtteranceFinished)]
    assert [event.is_interrupted for event in finished] == [True, False]
    assert 0 < finished[0].position_s < 8.0
    assert finished[1].position_s == pytest.approx(0.32)
    states = kinds([frame for _, frame in running.before.frames], BotStartedSpeakingFrame, BotStoppedSpeakingFrame)
    assert states == [BotStartedSpeakingFrame, BotStoppedSpeakingFrame] * 2


@pytest.mark.parametrize("utterance, kind", [(3, OutputAudioRawFrame), (4, TTSAudioRawFrame)])
def test_a_frame_that_was_on_its_way_at_an_interruption_does_not_count_as_speech(
    utterance: int, kind: type[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transport would take the avatar for speaking until the next answer ends."""
    service, pushed = MuseTalkVideoService(), []

    async def push(frame: Frame) -> None:
        pushed.append(frame)

    async def main() -> None:
        monkeypatch.setattr(service, "push_frame", push)
        monkeypatch.setattr(service, "_interrupted", 3)
        item = musetalk_cli.Frame(0, 0.0, np.zeros((2, 2, 3), np.uint8), np.ones((1920, 1), np.int16), utterance, 0.0)
        await service._push_frames(item)

    asyncio.run(main())
    assert [type(frame) for frame in pushed] == [OutputImageRawFrame, kind]


def test_frames_that_must_not_be_interrupted_are_passed_on(avatar: OpenAvatar) -> None:
    async def main() -> list[str]:
        async with talk(avatar) as running:
            kept, dropped = TextFrame("kept"), TextFrame("dropped")
            kept.interruptible = False
            await running.say(8.0)
            await running.send(dropped, kept)
            await running.behind.wait_for(is_voiced)
            await running.send(InterruptionFrame())
            await running.behind.wait_for(lambda frame: isinstance(frame, TextFrame))
            return [frame.text for frame in running.behind.of(TextFrame)]

    assert asyncio.run(main()) == ["kept"]


def test_an_end_says_everything_before_it(avatar: OpenAvatar) -> None:
    async def main() -> Talk:
        async with talk(avatar) as running:
            await running.say(1.0)
            await running.send(EndFrame())  # no TTSStoppedFrame
            await running.ended()
            return running

    running = asyncio.run(main())
    assert len(running.behind.of(TTSAudioRawFrame)) == 25
    assert isinstance(running.after.of(EndFrame)[-1], EndFrame)
    assert [type(event) for event in running.events] == [UtteranceStarted, UtteranceFinished]


def test_a_cancelled_pipeline_leaves_nothing_behind(avatar: OpenAvatar) -> None:
    async def main() -> None:
        async with talk(avatar) as running:
            await speak(running, 60.0)
            await running.behind.wait_for(is_voiced)

    asyncio.run(main())
    assert left_threads() == []


def test_without_its_avatar_the_agent_still_speaks() -> None:
    async def main() -> Talk:
        errors: list[ErrorFrame] = []
        async with talk("nobody-of-that-name") as running:
            await speak(running, 0.3)
            await running.send(EndFrame())
            await running.ended()
            errors += running.before.of(ErrorFrame)
            return running

    running = asyncio.run(main())
    assert "nobody-of-that-name" in running.before.of(ErrorFrame)[0].error
    assert sum(len(frame.audio) for frame in running.behind.of(TTSAudioRawFrame)) == 2 * 7_200


def test_the_transport_is_told_the_avatars_size_and_rate(avatar: OpenAvatar) -> None:
    params = transport_params(avatar)
    assert (params["video_out_width"], params["video_out_height"], params["video_out_framerate"]) == (64, 64, 25)
    assert params["audio_out_10ms_chunks"] == 4
