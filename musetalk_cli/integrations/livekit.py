"""LiveKit Agents: an avatar that the agent itself publishes in its room. docs/agents.md has an example."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np

from musetalk_cli import Frame, OpenAvatar, open_async_session, open_avatar
from musetalk_cli.installation import install_command
from musetalk_cli.integrations.waiting_items import WaitingItems

try:
    from livekit import rtc
    from livekit.agents import AgentSession, get_job_context
    from livekit.agents.voice.avatar import (
        AudioSegmentEnd,
        AvatarOptions,
        AvatarRunner,
        QueueAudioOutput,
        VideoGenerator,
    )
except ModuleNotFoundError as error:
    raise ImportError(f"MuseTalkVideoGenerator needs LiveKit ({error}): {install_command('livekit')}") from error

AUDIO_RATE_HZ = 48_000  # of the audio that a session hands out
# LiveKit takes no answer to an interruption for a lost avatar after 2 s.
FADE_PATIENCE_S = 1.0
READY_S = 0.004  # what takes less to get was there already
BITS_PER_PIXEL = 0.25
MIN_BITS_PER_S = 500_000


class MuseTalkVideoGenerator(VideoGenerator):
    """Speaks the audio that is pushed. Between the segments it gives video without audio: the avatar lives on.

    ``async with`` opens and closes its session.
    """

    def __init__(self, avatar: OpenAvatar, **options: Any) -> None:
        """``options`` as for ``OpenAvatar.open_session``."""
        self.avatar = avatar
        self._session = open_async_session(avatar, **options)
        self._waiting: WaitingItems[AudioSegmentEnd] = WaitingItems()
        self._has_voice = False  # since the last end of a segment
        self._segment_shown = asyncio.Event()
        self._faded = asyncio.Event()  # not while an interruption is under way
        self._faded.set()

    async def push_audio(self, frame: rtc.AudioFrame | AudioSegmentEnd) -> None:
        """Add voice to the segment, or end it, which waits until it has been shown.

        Were the next segment taken before, the runner would count its audio to this one.
        """
        if isinstance(frame, AudioSegmentEnd):
            await self._end_segment(frame)
            return
        await self._faded.wait()
        self._has_voice = True
        samples = np.frombuffer(frame.data, np.int16).reshape(-1, frame.num_channels)
        await self._session.push(samples, frame.sample_rate)
        self._waiting.note_push(self._session.session.last_utterance, len(samples) / frame.sample_rate)

    async def clear_buffer(self) -> None:
        """Interrupt. Returns when the voice has faded out, so that the position which is reported has all of it."""
        self._has_voice = False
        self._waiting.interrupt()
        self._segment_shown.set()
        self._faded.clear()
        interruption = await self._session.clear()
        if interruption.utterance is not None:
            with contextlib.suppress(asyncio.TimeoutError):  # nobody takes frames
                await asyncio.wait_for(self._faded.wait(), FADE_PATIENCE_S)
        self._faded.set()

    def __aiter__(self) -> AsyncIterator[rtc.VideoFrame | rtc.AudioFrame | AudioSegmentEnd]:
        return self._give()

    async def aclose(self) -> None:
        """End the session now."""
        self._segment_shown.set()
        await self._session.close()

    async def __aenter__(self) -> MuseTalkVideoGenerator:
        await self._session.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def _end_segment(self, end: AudioSegmentEnd) -> None:
        if not self._has_voice:  # interrupted: the runner has reported its end already
            return
        self._has_voice = False
        self._segment_shown.clear()
        await self._session.end_utterance()
        self._waiting.add(end)
        await self._segment_shown.wait()

    async def _give(self) -> AsyncIterator[rtc.VideoFrame | rtc.AudioFrame | AudioSegmentEnd]:
        frame_s = float(1 / self.avatar.frame_rate)
        async for item, has_waited in self._take():
            if isinstance(item, Frame):
                # The runner counts all audio as the segment's, so there is none between segments but a fade.
                is_idle = item.utterance is None and not item.audio.any()
                # The runner takes frames at its own pace. Without that, what it is late once it would be for ever.
                if not (is_idle and has_waited):
                    yield self._as_video_frame(item)
                if is_idle:
                    self._faded.set()
                else:
                    yield _as_audio_frame(item)
            self._waiting.note_shown(item, frame_s)
            while (end := self._waiting.take()) is not None:
                self._segment_shown.set()  # whoever waits goes on when the runner has taken the end
                yield end

    async def _take(self) -> AsyncIterator[tuple[object, bool]]:
        """The session's items, and whether each of them was there before it was asked for."""
        loop = asyncio.get_running_loop()
        asked_at_s = loop.time()
        async for item in self._session:
            yield item, loop.time() - asked_at_s < READY_S
            asked_at_s = loop.time()

    def _as_video_frame(self, item: Frame) -> rtc.VideoFrame:
        return rtc.VideoFrame(self.avatar.width, self.avatar.height, rtc.VideoBufferType.I420, item.image.tobytes())


class RunningAvatar:
    """An avatar in a room: ``generator``, ``runner`` and ``audio``, where the agent's speech goes. Close it."""

    def __init__(
        self, generator: MuseTalkVideoGenerator, runner: AvatarRunner, audio: QueueAudioOutput, *, owns_avatar: bool
    ) -> None:
        self.generator, self.runner, self.audio = generator, runner, audio
        self._owns_avatar = owns_avatar

    async def aclose(self) -> None:
        """Take the avatar from the room and end its session."""
        await self.runner.aclose()
        await self.generator.aclose()
        if self._owns_avatar:
            await asyncio.to_thread(self.generator.avatar.close)


async def start(
    agent_session: AgentSession[Any],
    room: rtc.Room,
    avatar: str | Path | OpenAvatar | None = None,
    *,
    model: str | None = None,
    size: int | None = None,
    **options: Any,
) -> RunningAvatar:
    """Let an avatar speak for an agent, as a video and an audio track of the agent's own participant.

    Call it before ``agent_session.start``. Within a job it is closed when the job shuts down.

    Args:
        agent_session: whose speech it takes.
        room: where it is published once the room is connected.
        avatar: as for ``open_avatar``; one that is open already stays open when this one is closed.
        model: as for ``open_avatar``.
        size: height of the video in pixels, even.
        options: as for ``OpenAvatar.open_session``.

    Raises:
        MuseTalkError: there is no such avatar, or the model cannot be used.
    """
    generator = await _open_generator(avatar, model, size, options)
    audio = QueueAudioOutput(wait_playback_start=True)
    running = RunningAvatar(
        generator, _Runner(room, generator, audio), audio, owns_avatar=generator.avatar is not avatar
    )
    await running.runner.start()
    agent_session.output.replace_audio_tail(audio)
    if (job := get_job_context(required=False)) is not None:
        job.add_shutdown_callback(running.aclose)
    return running


async def _open_generator(
    avatar: str | Path | OpenAvatar | None, model: str | None, size: int | None, options: dict[str, Any]
) -> MuseTalkVideoGenerator:
    if isinstance(avatar, OpenAvatar):
        return await MuseTalkVideoGenerator(avatar, **options).__aenter__()
    opened = await asyncio.to_thread(open_avatar, avatar, model=model, size=size)
    try:
        return await MuseTalkVideoGenerator(opened, **options).__aenter__()
    except BaseException:
        opened.close()
        raise


class _Runner(AvatarRunner):
    """Publishes as H.264 without simulcast; by default a small video becomes VP8 at 300 kbit/s."""

    def __init__(self, room: rtc.Room, generator: MuseTalkVideoGenerator, audio: QueueAudioOutput) -> None:
        avatar = generator.avatar
        shape = AvatarOptions(avatar.width, avatar.height, float(avatar.frame_rate), AUDIO_RATE_HZ, 1)
        super().__init__(room, audio_recv=audio, video_gen=generator, options=shape)

    async def _publish_track(self) -> None:
        async with self._lock:
            await self._room_connected_fut
            participant = self._room.local_participant
            audio = rtc.LocalAudioTrack.create_audio_track("avatar_audio", self._audio_source)
            video = rtc.LocalVideoTrack.create_video_track("avatar_video", self._video_source)
            microphone = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
            self._audio_publication = await participant.publish_track(audio, microphone)
            self._video_publication = await participant.publish_track(video, _video_options(self._options))
            await self._audio_publication.wait_for_subscription()


def _video_options(shape: AvatarOptions) -> rtc.TrackPublishOptions:
    bits_per_s = round(BITS_PER_PIXEL * shape.video_width * shape.video_height * shape.video_fps)
    return rtc.TrackPublishOptions(
        source=rtc.TrackSource.SOURCE_CAMERA,
        video_codec=rtc.VideoCodec.H264,
        simulcast=False,
        video_encoding=rtc.VideoEncoding(max_bitrate=max(MIN_BITS_PER_S, bits_per_s), max_framerate=shape.video_fps),
    )


def _as_audio_frame(item: Frame) -> rtc.AudioFrame:
    num_samples, num_channels = item.audio.shape
    return rtc.AudioFrame(item.audio.tobytes(), AUDIO_RATE_HZ, num_channels, num_samples)
