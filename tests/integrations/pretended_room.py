"""A LiveKit room without a server: tracks are published to nobody, and their media can be received in this process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
from livekit import rtc

RATE_HZ = 24_000
CHUNK_S = 0.1


class PretendedRoom:
    """What AvatarRunner needs of ``rtc.Room``. It counts as connected once ``connect`` has been called."""

    def __init__(self, *, is_connected: bool = True) -> None:
        self.local_participant = PretendedParticipant()
        self._is_connected = is_connected
        self._handlers: list[Callable[[Any], None]] = []

    def isconnected(self) -> bool:
        return self._is_connected

    def on(self, event: str, handler: Callable[[Any], None]) -> None:
        self._handlers.append(handler)

    def off(self, event: str, handler: Callable[[Any], None]) -> None:
        self._handlers.remove(handler)

    def connect(self) -> None:
        self._is_connected = True
        for handler in self._handlers:
            handler(None)


class PretendedParticipant:
    """Notes the tracks and their options."""

    identity = "agent"

    def __init__(self) -> None:
        self.published: list[tuple[Any, rtc.TrackPublishOptions]] = []
        self.has_both = asyncio.Event()

    async def publish_track(self, track: Any, options: rtc.TrackPublishOptions) -> PretendedPublication:
        self.published.append((track, options))
        if len(self.published) == 2:
            self.has_both.set()
        return PretendedPublication()


class PretendedPublication:
    async def wait_for_subscription(self) -> None:
        pass


class Listener:
    """Receives a track's audio, and notes when each 10 ms of it that is no silence came, by ``time.monotonic()``."""

    def __init__(self, track: Any) -> None:
        self.voiced_at: list[float] = []
        self.has_voice = asyncio.Event()
        self._stream = rtc.AudioStream.from_track(track=track, sample_rate=48_000)
        self._task = asyncio.create_task(self._receive())

    async def _receive(self) -> None:
        async for event in self._stream:
            if np.abs(np.frombuffer(event.frame.data, np.int16)).max() > 50:
                self.voiced_at.append(time.monotonic())
                self.has_voice.set()

    async def aclose(self) -> None:
        self._task.cancel()
        await self._stream.aclose()


async def speech(duration_s: float, frequency_hz: float = 220.0) -> AsyncIterator[rtc.AudioFrame]:
    """A tone in chunks, as a synthesiser sends it: faster than it is spoken."""
    times = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    samples = (9_000 * np.sin(2 * np.pi * frequency_hz * times)).astype(np.int16)
    num_chunk = round(CHUNK_S * RATE_HZ)
    for start in range(0, len(samples), num_chunk):
        chunk = samples[start : start + num_chunk]
        yield rtc.AudioFrame(chunk.tobytes(), RATE_HZ, 1, len(chunk))
