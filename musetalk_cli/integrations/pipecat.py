"""Pipecat: an avatar between the speech synthesiser and ``transport.output()``. docs/agents.md has an example."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import numpy as np

from musetalk_cli import (
    AsyncSession,
    MuseTalkError,
    OpenAvatar,
    UtteranceFinished,
    UtteranceStarted,
    open_async_session,
)
from musetalk_cli import Frame as SessionFrame
from musetalk_cli.installation import install_command
from musetalk_cli.integrations.waiting_items import WaitingItems

try:
    from pipecat.frames.frames import (
        CancelFrame,
        EndFrame,
        Frame,
        InterruptionFrame,
        OutputAudioRawFrame,
        OutputImageRawFrame,
        OutputTransportReadyFrame,
        SystemFrame,
        TTSAudioRawFrame,
        TTSStoppedFrame,
    )
    from pipecat.processors.frame_processor import FrameDirection, FrameProcessor, FrameProcessorSetup
except ModuleNotFoundError as error:
    hint = install_command("pipecat") if sys.version_info >= (3, 11) else "Pipecat needs Python 3.11 or newer"
    raise ImportError(f"MuseTalkVideoService needs Pipecat ({error}): {hint}") from error

AUDIO_RATE_HZ = 48_000  # of the audio that a session hands out


def transport_params(avatar: OpenAvatar) -> dict[str, Any]:
    """What ``TransportParams`` need so that the transport neither resizes nor resamples.

    An output at another rate than 48 kHz pads every utterance with up to 40 ms of silence, which adds up.
    """
    return {
        "audio_out_enabled": True,
        "audio_out_sample_rate": AUDIO_RATE_HZ,
        "audio_out_10ms_chunks": max(1, round(100 / avatar.frame_rate)),
        "video_out_enabled": True,
        "video_out_is_live": False,  # a live one ignores images that belong to audio
        "video_out_width": avatar.width,
        "video_out_height": avatar.height,
        "video_out_framerate": round(avatar.frame_rate),
    }


class MuseTalkVideoService(FrameProcessor):
    """Speaks what the synthesiser says, and lives on in silence between.

    ``TTSAudioRawFrame`` is swallowed; it comes out again with the image that belongs to it. Every other data and
    control frame waits until the voice before it has been shown. An interruption drops all of that.

    Event handlers: ``on_utterance_started(service, UtteranceStarted)`` and
    ``on_utterance_finished(service, UtteranceFinished)``, whose ``position_s`` is what the transport was handed.
    """

    def __init__(
        self, avatar: str | Path | OpenAvatar | None = None, *, name: str | None = None, **options: Any
    ) -> None:
        """The session is opened when the pipeline is set up, with ``options`` as for ``open_session``."""
        super().__init__(name=name)
        self._avatar, self._options = avatar, options
        self._session: AsyncSession | None = None
        self._showing: asyncio.Task[None] | None = None
        self._waiting: WaitingItems[Frame] = WaitingItems()
        self._releasing = asyncio.Lock()
        self._interrupted = -1  # the last utterance that was
        self._register_event_handler("on_utterance_started")
        self._register_event_handler("on_utterance_finished")

    async def setup(self, setup: FrameProcessorSetup) -> None:
        """Open the session. Raises MuseTalkError, which Pipecat reports; speech then goes on without an avatar."""
        await super().setup(setup)
        self._session = await open_async_session(self._avatar, pixel_format="rgb", **self._options).__aenter__()

    async def cleanup(self) -> None:
        """Close the session, if it still is open."""
        await super().cleanup()
        await self._close()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Take the voice, and let what follows it wait."""
        await super().process_frame(frame, direction)
        if self._session is None:
            await self.push_frame(frame, direction)
        elif isinstance(frame, SystemFrame) or direction == FrameDirection.UPSTREAM:
            await self._process_at_once(frame, direction)
        elif isinstance(frame, TTSAudioRawFrame):
            await self._push_voice(self._session, frame)
        elif frame.pts:  # the transport lets it wait for its time
            await self.push_frame(frame, direction)
        else:
            await self._process_in_turn(self._session, frame)

    async def _process_at_once(self, frame: Frame, direction: FrameDirection) -> None:
        if isinstance(frame, OutputTransportReadyFrame):
            self._start_showing()
        elif isinstance(frame, InterruptionFrame):
            await self._interrupt()
        elif isinstance(frame, CancelFrame):
            await self._close()
        await self.push_frame(frame, direction)
        await self._release()

    async def _push_voice(self, session: AsyncSession, frame: TTSAudioRawFrame) -> None:
        self._start_showing()
        samples = np.frombuffer(frame.audio, "<i2").reshape(-1, frame.num_channels)
        await session.push(samples, frame.sample_rate)
        self._waiting.note_push(session.session.last_utterance, len(samples) / frame.sample_rate)

    async def _process_in_turn(self, session: AsyncSession, frame: Frame) -> None:
        if isinstance(frame, TTSStoppedFrame):
            await session.end_utterance()
        elif isinstance(frame, EndFrame):
            self._start_showing()
            await session.finish()
            if self._showing:
                await self._showing
        self._waiting.add(frame)
        await self._release()

    async def _interrupt(self) -> None:
        if self._session is not None:
            await self._session.clear()
            last = self._session.session.last_utterance
            self._interrupted = self._interrupted if last is None else last
        self._waiting.interrupt(lambda frame: not frame.interruptible)

    def _start_showing(self) -> None:
        """From now on frames are handed to the transport; before it is ready it would refuse them."""
        if self._showing is None and self._session is not None:
            self._showing = self.create_task(self._show(self._session))

    async def _show(self, session: AsyncSession) -> None:
        """Hand on what the session gives, to its end."""
        frame_s = float(1 / session.session.settings.frame_rate)
        try:
            async for item in session:
                if isinstance(item, SessionFrame):
                    await self._push_frames(item)
                elif isinstance(item, UtteranceStarted):
                    await self._call_event_handler("on_utterance_started", item)
                elif isinstance(item, UtteranceFinished):
                    await self._call_event_handler("on_utterance_finished", item)
                self._waiting.note_shown(item, frame_s)
                await self._release()
        except MuseTalkError as error:
            await self.push_error(f"the avatar's session broke: {error}", error, force_treat_as_permanent=True)
        self._session = None  # what is said from now on goes on without an avatar
        self._waiting.interrupt(lambda frame: True)
        await self._release()
        await session.close()

    async def _push_frames(self, item: SessionFrame) -> None:
        """An image, which the transport shows when the audio before it has been sent, and its own audio."""
        height, width, _ = item.image.shape
        image = OutputImageRawFrame(image=item.image.tobytes(), size=(width, height), format="RGB")
        image.sync_with_audio = True
        await self.push_frame(image)
        # A transport takes TTS audio for speech, until it is told that the speech has stopped or was interrupted.
        is_speech = item.utterance is not None and item.utterance > self._interrupted
        kind = TTSAudioRawFrame if is_speech else OutputAudioRawFrame
        num_channels = item.audio.shape[1]
        await self.push_frame(kind(item.audio.tobytes(), sample_rate=AUDIO_RATE_HZ, num_channels=num_channels))

    async def _release(self) -> None:
        """Pass on the frames whose turn has come."""
        async with self._releasing:
            while (frame := self._waiting.take()) is not None:
                await self.push_frame(frame)

    async def _close(self) -> None:
        """End the session now, whatever it does."""
        session, self._session = self._session, None
        if self._showing is not None and not self._showing.done():
            await self.cancel_task(self._showing)
        if session is not None:
            await session.close()
